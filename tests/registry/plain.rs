//! The ordinary way, against `docker-registry`.

use lifecycle::image::ImageStore;

use super::peers::{DockerRegistry, Setup, skipped_without};
use super::support::{check_whole, layer, names, save, store};

#[test]
fn images_are_written_and_read_back() {
    if skipped_without("docker-registry") {
        return;
    }
    let registry = DockerRegistry::start(&Setup::default());
    let dir = tempfile::tempdir().unwrap();
    let [run, app, other] = ["run", "app:v1", "elsewhere/app"].map(|name| format!("{}/{name}", registry.host));
    let writing = store(&[]);
    assert_eq!(writing.open(&run).unwrap(), None);
    assert!(writing.why_absent(&run).unwrap().contains("404 Not Found"), "{:?}", writing.why_absent(&run));
    save(&writing, &[&run], None, &[layer(dir.path(), "base", 1, 3 << 20)]).unwrap();
    let base = writing.open(&run).unwrap().unwrap();
    // Small, large, and not compressible.
    let layers = [layer(dir.path(), "small", 2, 100), layer(dir.path(), "large", 3, 9 << 20)];
    let saved = save(&writing, &[&app, &other], Some(&base), &layers).unwrap();
    assert_eq!(saved.names, names(&[&app, &other]));

    let reading = store(&[]);
    for name in [&app, &other] {
        let image = check_whole(&reading, name);
        assert_eq!(image.config.diff_ids().len(), 3);
        assert_eq!(image.digest, saved.digest);
        assert_eq!(image.config.label("made-by"), Some("test"));
    }
    assert_eq!(reading.open(&app).unwrap().unwrap().identifier, saved.identifier);
    // By digest, too.
    check_whole(&store(&[]), &saved.identifier);
}

#[test]
fn access_is_checked_before_anything_is_built() {
    if skipped_without("docker-registry") {
        return;
    }
    // htpasswd of user cnb, password cnb
    let setup = Setup {
        htpasswd: Some("cnb:$2y$05$eInVCtBwbmXQfFNZ7kkbTOGfH0UeYjX8fPYtVDPJyyqJHGbKGUk4q\n".to_owned()),
        ..Setup::default()
    };
    let registry = DockerRegistry::start(&setup);
    let app = format!("{}/app", registry.host);
    let error = store(&[]).check_read_access(&app).unwrap_err().to_string();
    let want = format!(
        "failed to ensure registry read access to {app}: look for manifest of {app}: HEAD http://{}/v2/app/manifests/latest: 401 Unauthorized",
        registry.host
    );
    assert!(error.starts_with(&want), "{error}");
    assert!(error.contains("no credentials for this registry were found"), "{error}");
    store(&[]).check_read_access("").unwrap();
}
