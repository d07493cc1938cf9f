use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn basic(user: &str, password: &str) -> Credentials {
    Credentials::Basic { user: user.to_owned(), password: password.to_owned() }
}

fn invocation(pairs: &[(&str, &str)]) -> Invocation {
    let env = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Invocation { env, ..Invocation::default() }
}

fn load(pairs: &[(&str, &str)]) -> Keychain {
    Keychain::load(&invocation(pairs)).unwrap()
}

/// A directory with helpers that print what `script` says.
fn helpers(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, script) in scripts {
        let path = dir.path().join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

fn path_with(dir: &tempfile::TempDir) -> String {
    format!("{}:/usr/bin:/bin", dir.path().display())
}

#[test]
fn headers_of_the_variable() {
    let keychain = load(&[(
        "CNB_REGISTRY_AUTH",
        r#"{"a.io":"Basic Y25iOnA6dw==","b.io":"bearer t","https://index.docker.io/v1/":"X-Identity i","c.io":"","d.io":"Digest x","e.io":null}"#,
    )]);
    for (registry, want) in [
        ("a.io", basic("cnb", "p:w")),
        ("b.io", Credentials::Bearer("t".to_owned())),
        ("index.docker.io", Credentials::Identity("i".to_owned())),
        ("c.io", Credentials::Anonymous),
        ("d.io", Credentials::Header("Digest x".to_owned())),
        ("e.io", Credentials::Anonymous),
    ] {
        let found = keychain.resolve(registry, "x/y");
        assert_eq!((found.credentials, found.source.as_str()), (want, "CNB_REGISTRY_AUTH"), "{registry}");
    }
    assert_eq!(keychain.resolve("other.io", "x/y"), Found::none());
}

#[test]
fn a_malformed_variable_is_an_error_that_quotes_no_secret() {
    for (text, want) in [
        (
            r#"{"a.io": 3}"#,
            "reading auth env var: failed to parse CNB_REGISTRY_AUTH value: the value of \"a.io\" is not a string",
        ),
        (r#"{"a.io": "Basic hunter2"#, "reading auth env var: failed to parse CNB_REGISTRY_AUTH value: not JSON"),
        (r#"["hunter2"]"#, "reading auth env var: failed to parse CNB_REGISTRY_AUTH value: not a JSON object"),
    ] {
        assert_eq!(Keychain::load(&invocation(&[("CNB_REGISTRY_AUTH", text)])).unwrap_err().to_string(), want);
    }
}

#[test]
fn the_most_specific_key_wins() {
    let keychain = load(&[(
        "CNB_REGISTRY_AUTH",
        r#"{"a.io":"Bearer host","a.io/team":"Bearer team","a.io/team/app":"Bearer app","b.io/x":"Bearer x"}"#,
    )]);
    for (repository, want) in
        [("team/app", "app"), ("team/app/sub", "app"), ("team/apple", "team"), ("team", "team"), ("teams/x", "host")]
    {
        assert_eq!(keychain.resolve("a.io", repository).credentials, Credentials::Bearer(want.to_owned()), "{repository}");
    }
    assert_eq!(keychain.resolve("b.io", "other").credentials, Credentials::Bearer("x".to_owned()));
}

#[test]
fn files_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let own = write("own.json", r#"{"auths":{"a.io":{"auth":"b3duOjE="}}}"#);
    write(
        ".docker/config.json",
        r#"{"auths":{"a.io":{"auth":"aG9tZTox"},"http://b.io/v2/":{"username":"u","password":"p"},"docker.io":{"identitytoken":"i"},"e.io":{}}}"#,
    );
    write("other/config.json", r#"{"auths":{"b.io":{"registrytoken":"r"}}}"#);
    write(".config/containers/auth.json", r#"{"auths":{"c.io/team":{"auth":"cG9kbWFuOjE="}}}"#);
    let home = dir.path().to_str().unwrap();

    let keychain = load(&[("HOME", home), ("CNB_REGISTRY_AUTH_FILE", &own)]);
    assert_eq!(keychain.resolve("a.io", "x"), Found { credentials: basic("own", "1"), source: own.clone() });
    assert_eq!(keychain.resolve("b.io", "x").credentials, basic("u", "p"));
    assert_eq!(keychain.resolve("index.docker.io", "x").credentials, Credentials::Identity("i".to_owned()));
    assert_eq!(keychain.resolve("c.io", "team/x").credentials, basic("podman", "1"));
    assert_eq!(keychain.resolve("c.io", "other/x"), Found::none());
    assert_eq!(keychain.resolve("e.io", "x"), Found::none());

    let keychain = load(&[("HOME", home), ("DOCKER_CONFIG", &format!("{home}/other"))]);
    assert_eq!(keychain.resolve("b.io", "x").credentials, Credentials::Bearer("r".to_owned()));
    assert_eq!(keychain.resolve("a.io", "x"), Found::none());
}

#[test]
fn a_broken_file_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    fs::write(&path, r#"{"auths": {"a.io": "hunter2"}}"#).unwrap();
    let error = DockerConfig::read(&path, &[]).unwrap_err().to_string();
    assert!(error.starts_with("not a docker config: line 1") && !error.contains("hunter2"), "{error}");
    assert_eq!(load(&[("DOCKER_CONFIG", dir.path().to_str().unwrap())]).resolve("a.io", "x"), Found::none());
}

#[test]
fn helpers_are_asked_once_and_again_after_a_refusal() {
    let counting = r#"n=$(cat "$0.n" 2>/dev/null || echo 0); n=$((n+1)); echo $n > "$0.n"; read server; test -z "$CNB_REGISTRY_AUTH" || exit 9; echo "{\"ServerURL\":\"$server\",\"Username\":\"$server\",\"Secret\":\"s$n\"}""#;
    let dir = helpers(&[
        ("count", counting),
        ("none", "echo credentials not found in native keychain; exit 1"),
        ("bad", "echo hunter2; exit 1"),
    ]);
    let config = tempfile::tempdir().unwrap();
    let text =
        r#"{"credsStore":"count","credHelpers":{"none.io":"none","bad.io":"bad"},"auths":{"none.io":{"auth":"ZmlsZTox"}}}"#;
    fs::write(config.path().join("config.json"), text).unwrap();
    let keychain = load(&[
        ("PATH", &path_with(&dir)),
        ("DOCKER_CONFIG", config.path().to_str().unwrap()),
        ("CNB_REGISTRY_AUTH", r#"{"z.io":"Bearer z"}"#),
    ]);
    keychain.prefetch(&["a.io/x/y", "a.io/x/z", "not a name", "z.io/x/y"]);
    assert_eq!(keychain.resolve("a.io", "x/y").credentials, basic("a.io", "s1"));
    assert_eq!(keychain.resolve("a.io", "other").credentials, basic("a.io", "s1"));
    assert!(keychain.refresh("a.io", "x/y"));
    assert_eq!(keychain.resolve("a.io", "x/y").credentials, basic("a.io", "s2"));
    assert_eq!(keychain.resolve("index.docker.io", "library/x").credentials, basic("https://index.docker.io/v1/", "s3"));
    assert_eq!(keychain.resolve("none.io", "x").credentials, basic("file", "1"));
    assert_eq!(keychain.resolve("bad.io", "x"), Found::none());
    assert!(!keychain.refresh("z.io", "x/y"));
}

#[test]
fn a_helper_that_hangs_is_ended() {
    let dir = helpers(&[("slow", "exec sleep 60")]);
    let helper = Helper::new("slow", &[("PATH".into(), path_with(&dir).into())]);
    let started = std::time::Instant::now();
    let answer = helper::ask_all(&[(helper.clone(), "a.io".to_owned()), (helper, "b.io".to_owned())], Duration::from_millis(100));
    assert!(answer.iter().all(|a| a.as_ref().unwrap_err().to_string().contains("did not answer within")));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn vendors_are_asked_about_their_own_registries_only() {
    for (vendor, registry, want) in [
        ("AMAZON", "1.dkr.ecr.eu-west-1.amazonaws.com", true),
        ("AMAZON", "public.ecr.aws", true),
        ("AMAZON", "gcr.io", false),
        ("AZURE", "x.azurecr.io", true),
        ("AZURE", "azurecr.io.evil.com", false),
        ("GOOGLE", "eu.gcr.io", true),
        ("GOOGLE", "europe-docker.pkg.dev", true),
        ("GOOGLE", "evilgcr.io", false),
    ] {
        assert_eq!(serves(vendor, registry), want, "{vendor} {registry}");
    }
    let dir = helpers(&[("ecr-login", "exit 1"), ("gcr", "exit 1")]);
    let path = dir.path().display().to_string();
    let names = |pairs: &[(&str, &str)]| load(pairs).vendors.iter().map(|(_, h)| h.name()).collect::<Vec<_>>();
    assert_eq!(names(&[("PATH", &path)]), ["docker-credential-ecr-login", "docker-credential-gcr"]);
    assert_eq!(names(&[("PATH", &path), ("CNB_REGISTRY_AUTH_KEYCHAIN_SKIP_AMAZON", "true")]), ["docker-credential-gcr"]);
}

#[test]
fn no_secret_shows() {
    let keychain =
        load(&[("CNB_REGISTRY_AUTH", r#"{"a.io":"Basic aHVudGVyMjpodW50ZXIy","b.io":"Bearer hunter2","c.io":"X hunter2"}"#)]);
    let shown = format!("{keychain:?} {:?}", keychain.resolve("a.io", "x"));
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVy"), "{shown}");
}
