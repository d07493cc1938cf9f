//! Other people's programs read what was written, and write what is read: a fault that our reader and writer share cannot hide.

use std::process::Command;

use lifecycle::image::ImageStore;
use oci_client::client::{Client, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::{IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE};
use oci_client::secrets::RegistryAuth;
use serde_json::{Value, json};

use super::peers::{DockerRegistry, Setup, skipped_without};
use super::support::{check_whole, layer, save, sha256, store};

fn client() -> Client {
    // Its HTTP client takes the process' default; ours brings its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(future)
}

#[test]
fn another_client_pushes_the_base_and_pulls_the_result() {
    if skipped_without("docker-registry") {
        return;
    }
    let registry = DockerRegistry::start(&Setup::default());
    let dir = tempfile::tempdir().unwrap();
    let [run_image, app] = ["base/run", "team/app"].map(|name| format!("{}/{name}:x", registry.host));
    let tar = vec![0; 1024];
    let blob = zstd::bulk::compress(&tar, 3).unwrap();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Labels": {"odd": "<&>"}, "Healthcheck": {"Test": ["NONE"]}},
        "rootfs": {"type": "layers", "diff_ids": [sha256(&tar)]}, "x-unknown": [1, 2]});
    let layers = [ImageLayer::new(blob, "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(), None)];
    let config = Config::new(config.to_string(), IMAGE_CONFIG_MEDIA_TYPE.to_owned(), None);
    run(client().push(&run_image.parse().unwrap(), &layers, config, &RegistryAuth::Anonymous, None)).unwrap();

    let writing = store(&[]);
    let base = check_whole(&writing, &run_image);
    let saved = save(&writing, &[&app], Some(&base), &[layer(dir.path(), "l", 1, 3 << 20)]).unwrap();

    let types =
        vec![IMAGE_LAYER_GZIP_MEDIA_TYPE, IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE, "application/vnd.oci.image.layer.v1.tar+zstd"];
    let pulled = run(client().pull(&app.parse().unwrap(), &RegistryAuth::Anonymous, types)).unwrap();
    assert_eq!(pulled.digest, saved.digest.map(|d| d.to_string()));
    assert_eq!(pulled.layers.len(), 2);
    let config: Value = serde_json::from_slice(&pulled.config.data).unwrap();
    // What this program does not know is still there.
    assert_eq!(config["x-unknown"], json!([1, 2]));
    assert_eq!(config["config"]["Healthcheck"], json!({"Test": ["NONE"]}));
    assert_eq!(config["config"]["Labels"], json!({"made-by": "test", "odd": "<&>"}));
}

#[test]
fn skopeo_reads_what_was_written() {
    if skipped_without("docker-registry") || skipped_without("skopeo") {
        return;
    }
    let registry = DockerRegistry::start(&Setup::default());
    let dir = tempfile::tempdir().unwrap();
    let app = format!("{}/app", registry.host);
    let saved = save(&store(&[]), &[&app], None, &[layer(dir.path(), "l", 1, 3 << 20)]).unwrap();
    let to = format!("oci:{}:x", dir.path().join("copy").display());
    let skopeo = |args: &[&str]| {
        let output = Command::new("/usr/bin/skopeo").args(args).output().expect("run skopeo");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let inspected = skopeo(&["inspect", "--tls-verify=false", &format!("docker://{app}")]);
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], saved.digest.unwrap().as_str());
    skopeo(&["copy", "--src-tls-verify=false", &format!("docker://{app}"), &to]);
}

#[test]
fn indexes_are_read_by_platform() {
    if skipped_without("docker-registry") {
        return;
    }
    let registry = DockerRegistry::start(&Setup::default());
    let dir = tempfile::tempdir().unwrap();
    let child = |name: &str, seed| {
        let name = format!("{}/multi:{name}", registry.host);
        let saved = save(&store(&[]), &[&name], None, &[layer(dir.path(), "l", seed, 1000)]).unwrap();
        (saved.digest.unwrap().to_string(), saved.manifest_size)
    };
    let [amd, arm] = [("amd", 1), ("arm", 2)].map(|(name, seed)| child(name, seed));
    let entry = |(digest, size): &(String, u64), arch: &str| {
        json!({"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": arch}})
    };
    let put = |tag: &str, manifests: Value| {
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json", "manifests": manifests});
        let url = format!("http://{}/v2/multi/manifests/{tag}", registry.host);
        let type_ = "Content-Type: application/vnd.docker.distribution.manifest.list.v2+json";
        let output = Command::new("curl")
            .args(["-sf", "-X", "PUT", "-H", type_, "-d", &index.to_string(), &url])
            .output()
            .expect("run curl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    if skipped_without("curl") {
        return;
    }
    put("both", json!([entry(&arm, "arm64"), entry(&amd, "amd64")]));
    put("other", json!([entry(&arm, "arm64")]));
    let reading = store(&[]);
    let image = check_whole(&reading, &format!("{}/multi:both", registry.host));
    assert_eq!(image.digest.as_ref().unwrap().as_str(), amd.0);
    let other = format!("{}/multi:other", registry.host);
    assert_eq!(reading.open(&other).unwrap(), None);
    assert_eq!(reading.why_absent(&other).unwrap(), format!("{other} is an index without an image for linux/amd64"));
}
