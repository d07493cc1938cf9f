//! Certificates, credentials, proxies and mirrors.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use lifecycle::image::{ImageStore, Platform};
use lifecycle::registry::RegistryStore;
use serde_json::json;

use super::certificates::{openssl, self_signed, signed_by_ca};
use super::faulty::{Fault, FaultyRegistry, Manners};
use super::peers::{DockerRegistry, Setup, skipped_without};
use super::support::{check_whole, invocation, layer, save, store};

#[test]
fn a_private_ca_is_trusted_if_it_is_named() {
    if skipped_without("docker-registry") || skipped_without("openssl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ca, certificate, key) = signed_by_ca(dir.path());
    let registry = DockerRegistry::start(&Setup { tls: Some((certificate, key)), ..Setup::default() });
    let app = format!("{}/app", registry.host);
    let trusting = store(&[("CNB_REGISTRY_CA", ca.to_str().unwrap())]);
    save(&trusting, &[&app], None, &[layer(dir.path(), "l", 1, 2 << 20)]).unwrap();
    check_whole(&trusting, &app);

    let error = store(&[]).check_read_access(&app).unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate: UnknownIssuer"), "{error}");
    assert!(
        error.contains("trust the registry's certificate with CNB_REGISTRY_CA, or name the registry with -insecure-registry"),
        "{error}"
    );
    let insecure = [registry.host.clone()];
    let unverified = RegistryStore::new(&invocation(&[]), &insecure, Platform::host()).unwrap();
    check_whole(&unverified, &app);
}

#[test]
fn a_trusted_certificate_that_is_its_own_ca_is_taken_for_its_names_only() {
    if skipped_without("docker-registry") || skipped_without("openssl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, alternative, good) in [("right", "IP:127.0.0.1", true), ("wrong", "DNS:other.example", false)] {
        let (certificate, key) = self_signed(dir.path(), name, alternative);
        let registry = DockerRegistry::start(&Setup { tls: Some((certificate.clone(), key)), ..Setup::default() });
        let app = format!("{}/app", registry.host);
        let answer = store(&[("CNB_REGISTRY_CA", certificate.to_str().unwrap())]).check_read_access(&app);
        assert_eq!(answer.is_ok(), good, "{name}: {answer:?}");
        assert!(store(&[]).check_read_access(&app).is_err(), "{name}");
    }
}

#[test]
fn basic_authentication() {
    if skipped_without("docker-registry") || skipped_without("htpasswd") {
        return;
    }
    let output = Command::new("/usr/bin/htpasswd").args(["-Bbn", "cnb", "pass:word"]).output().unwrap();
    let htpasswd = String::from_utf8(output.stdout).unwrap();
    let registry = DockerRegistry::start(&Setup { htpasswd: Some(htpasswd), ..Setup::default() });
    let app = format!("{}/app", registry.host);
    let dir = tempfile::tempdir().unwrap();
    let encoded = BASE64_STANDARD.encode("cnb:pass:word");
    fs::write(dir.path().join("config.json"), json!({"auths": {&registry.host: {"auth": encoded}}}).to_string()).unwrap();
    let config = dir.path().to_str().unwrap();
    let writing = store(&[("DOCKER_CONFIG", config)]);
    writing.check_read_write_access(&app).unwrap();
    save(&writing, &[&app], None, &[layer(dir.path(), "l", 1, 2 << 20)]).unwrap();
    check_whole(&writing, &app);

    let wrong = json!({&registry.host: format!("Basic {}", BASE64_STANDARD.encode("cnb:wrong"))}).to_string();
    let error = store(&[("CNB_REGISTRY_AUTH", &wrong)]).check_read_access(&app).unwrap_err().to_string();
    assert!(
        error.contains("401 Unauthorized") && error.contains("credentials: CNB_REGISTRY_AUTH; the credentials are wrong"),
        "{error}"
    );
    // Credentials of one repository are not shown to another.
    let other = json!({format!("{}/team", registry.host): format!("Basic {encoded}"), &registry.host: ""}).to_string();
    let partial = store(&[("CNB_REGISTRY_AUTH", &other)]);
    partial.check_read_access(&format!("{}/team/x", registry.host)).unwrap();
    partial.check_read_access(&app).unwrap_err();
}

/// A token server as docker-registry wants one: JSON web tokens, signed by openssl.
fn token_server(dir: &std::path::Path, certificate: &std::path::Path, user: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pem = fs::read_to_string(certificate).unwrap();
    let chain: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let dir = dir.to_owned();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            let headers: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let wanted = format!("authorization: Basic {}", BASE64_STANDARD.encode(user));
            let known = headers.iter().any(|line| line.eq_ignore_ascii_case(&wanted));
            let path = request.split(' ').nth(1).unwrap().replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
            let access: Vec<_> = path
                .split(['?', '&'])
                .filter_map(|pair| pair.strip_prefix("scope=repository:"))
                .map(|scope| {
                    let (name, actions) = scope.rsplit_once(':').unwrap();
                    let actions: Vec<&str> = actions.split(',').filter(|action| known || *action == "pull").collect();
                    json!({"type": "repository", "name": name, "actions": actions})
                })
                .collect();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [chain]});
            let claims = json!({"iss": "issuer", "sub": "x", "aud": "service", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": "1", "access": access});
            let text = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
            fs::write(dir.join("text"), &text).unwrap();
            openssl(&dir, &["dgst", "-sha256", "-sign", "token.key", "-out", "signature", "text"]);
            let signature = BASE64_URL_SAFE_NO_PAD.encode(fs::read(dir.join("signature")).unwrap());
            let body = json!({"token": format!("{text}.{signature}")}).to_string();
            write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    port
}

#[test]
fn token_authentication() {
    if skipped_without("docker-registry") || skipped_without("openssl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (certificate, _) = self_signed(dir.path(), "token", "DNS:token.example");
    let port = token_server(dir.path(), &certificate, "cnb:secret");
    let auth = format!(
        "  token:\n    realm: http://127.0.0.1:{port}/token\n    service: service\n    issuer: issuer\n    rootcertbundle: {}\n",
        certificate.display()
    );
    let registry = DockerRegistry::start(&Setup { auth: Some(auth), ..Setup::default() });
    let [app, cache] = ["team/app", "cache"].map(|name| format!("{}/{name}", registry.host));
    let known = json!({&registry.host: format!("Basic {}", BASE64_STANDARD.encode("cnb:secret"))}).to_string();
    let writing = store(&[("CNB_REGISTRY_AUTH", &known)]);
    writing.check_read_write_access(&app).unwrap();
    save(&writing, &[&app], None, &[layer(dir.path(), "l", 1, 2 << 20)]).unwrap();
    // A mount needs a token for two repositories.
    let base = writing.open(&app).unwrap().unwrap();
    save(&writing, &[&cache], Some(&base), &[]).unwrap();
    check_whole(&store(&[("CNB_REGISTRY_AUTH", &known)]), &cache);
    // Anybody may read, nobody else may write.
    check_whole(&store(&[]), &app);
    let error = store(&[]).check_read_write_access(&app).unwrap_err().to_string();
    assert!(error.contains("401 Unauthorized") || error.contains("403 Forbidden"), "{error}");
}

#[test]
fn credentials_stay_with_the_registry() {
    let dir = tempfile::tempdir().unwrap();
    let manners =
        Manners { tokens: Some(Some(("cnb".to_owned(), "secret".to_owned()))), uploads_elsewhere: true, ..Manners::default() };
    let registry = FaultyRegistry::start(manners);
    let auth = json!({&registry.host: "Basic Y25iOnNlY3JldA=="}).to_string();
    save(&store(&[("CNB_REGISTRY_AUTH", &auth)]), &[&registry.name("app")], None, &[layer(dir.path(), "l", 1, 2 << 20)]).unwrap();
    let seen = registry.take_seen();
    let uploads: Vec<_> = seen.iter().filter(|s| s.path.contains("/uploads/upload-")).collect();
    assert!(uploads.len() >= 2);
    assert!(uploads.iter().all(|s| s.authorization.is_none()), "{uploads:?}");
    assert!(seen.iter().filter(|s| s.path.starts_with("/v2/app/manifests")).all(|s| s.authorization.is_some()));
}

#[test]
fn identity_tokens_are_exchanged() {
    let dir = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start(Manners { tokens: Some(None), refresh: Some("r-1"), ..Manners::default() });
    let auth = |token: &str| json!({&registry.host: format!("X-Identity {token}")}).to_string();
    save(&store(&[("CNB_REGISTRY_AUTH", &auth("r-1"))]), &[&registry.name("app")], None, &[layer(dir.path(), "l", 1, 1000)])
        .unwrap();
    let error = store(&[("CNB_REGISTRY_AUTH", &auth("r-2"))]).check_read_access(&registry.name("app")).unwrap_err().to_string();
    assert!(error.contains("wrong refresh token") && !error.contains("r-2"), "{error}");
}

/// A helper whose first answer is out of date by the time it is used.
#[test]
fn a_helper_is_asked_again_after_a_refusal() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let manners = Manners { tokens: Some(Some(("cnb".to_owned(), "s2".to_owned()))), ..Manners::default() };
    let registry = FaultyRegistry::start(manners);
    let helper = dir.path().join("docker-credential-test");
    let script = r#"n=$(cat "$0.n" 2>/dev/null || echo 0); n=$((n+1)); echo $n > "$0.n"; sleep 0.2
echo "{\"Username\":\"cnb\",\"Secret\":\"s$n\"}""#;
    fs::write(&helper, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.path().join("config.json"), r#"{"credsStore":"test"}"#).unwrap();
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    let asking = store(&[("PATH", &path), ("DOCKER_CONFIG", dir.path().to_str().unwrap())]);
    asking.prefetch_credentials(&[&registry.name("app")]);
    asking.check_read_write_access(&registry.name("app")).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("docker-credential-test.n")).unwrap(), "2\n");
}

#[test]
fn http_proxies_are_used_for_others_but_not_for_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start(Manners::default());
    save(&store(&[]), &[&registry.name("app")], None, &[layer(dir.path(), "l", 1, 1000)]).unwrap();
    let proxy = format!("http://{}", registry.host);
    let insecure = ["registry.invalid".to_owned()];
    for variable in ["HTTP_PROXY", "http_proxy"] {
        let proxied = RegistryStore::new(&invocation(&[(variable, &proxy)]), &insecure, Platform::host()).unwrap();
        check_whole(&proxied, "registry.invalid/app");
    }
    let except = [("HTTP_PROXY", proxy.as_str()), ("NO_PROXY", "other.invalid,registry.invalid"), ("CNB_REGISTRY_TIMEOUT", "1")];
    let direct = RegistryStore::new(&invocation(&except), &insecure, Platform::host()).unwrap();
    let error = direct.open("registry.invalid/app").unwrap_err().to_string();
    assert!(error.contains("https://registry.invalid/v2/") && error.contains("http://registry.invalid/v2/"), "{error}");
    let dead = format!("http://127.0.0.1:{}", super::peers::free_port());
    check_whole(&store(&[("HTTP_PROXY", &dead)]), &registry.name("app"));
}

#[test]
fn addresses_of_version_6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("SKIP: needs IPv6");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start(Manners { ipv6: true, ..Manners::default() });
    assert!(registry.host.starts_with("[::1]:"));
    save(&store(&[]), &[&registry.name("app:1")], None, &[layer(dir.path(), "l", 1, 1000)]).unwrap();
    check_whole(&store(&[]), &registry.name("app:1"));
}

#[test]
fn mirrors_are_asked_first_and_the_origin_when_they_fail() {
    let dir = tempfile::tempdir().unwrap();
    let (origin, mirror) = (FaultyRegistry::start(Manners::default()), FaultyRegistry::start(Manners::default()));
    let layers = [layer(dir.path(), "l", 1, 2 << 20)];
    save(&store(&[]), &[&mirror.name("proxy/hub/library/only-there")], None, &layers).unwrap();
    save(&store(&[]), &[&mirror.name("proxy/both")], None, &layers).unwrap();
    save(&store(&[]), &[&origin.name("both")], None, &layers).unwrap();
    let hub = format!("docker.io=http://{}/proxy/hub", mirror.host);
    let image = check_whole(&store(&[("CNB_REGISTRY_MIRRORS", &hub)]), "only-there");
    // The mirror appears nowhere.
    assert!(image.identifier.starts_with("index.docker.io/library/only-there@sha256:"), "{}", image.identifier);

    let both = format!("{}=http://{}/proxy", origin.host, mirror.host);
    origin.take_seen();
    check_whole(&store(&[("CNB_REGISTRY_MIRRORS", &both)]), &origin.name("both"));
    assert_eq!(origin.take_seen(), []);
    for fault in
        [Fault::Status(503, None), Fault::Status(404, None), Fault::ResetBefore, Fault::CutBody(100), Fault::WrongByte(9)]
    {
        let told = fault.clone();
        mirror.script(move |_, path| (path.contains("/manifests/") || path.contains("/blobs/")).then(|| told.clone()));
        let reading = store(&[("CNB_REGISTRY_MIRRORS", &both)]);
        let image = reading.open(&origin.name("both")).unwrap().unwrap();
        let mut reader = reading.read_layer(&image, &image.config.diff_ids()[0]).unwrap();
        let read = std::io::Read::read_to_end(&mut reader, &mut Vec::new());
        // Bytes that turn out wrong at the end have been passed on already.
        assert_eq!(read.is_ok(), !matches!(fault, Fault::WrongByte(_)), "{fault:?}: {read:?}");
    }
    // One that cannot be reached is asked once.
    let dead = format!("{}=http://127.0.0.1:{}", origin.host, super::peers::free_port());
    check_whole(&store(&[("CNB_REGISTRY_MIRRORS", &dead)]), &origin.name("both"));
    // Writes go to the origin.
    mirror.calm();
    mirror.take_seen();
    save(&store(&[("CNB_REGISTRY_MIRRORS", &both)]), &[&origin.name("new")], None, &layers).unwrap();
    assert!(mirror.take_seen().iter().all(|s| matches!(s.method.as_str(), "GET" | "HEAD")));
}
