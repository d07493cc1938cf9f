//! Where the daemon is: `DOCKER_HOST` and the variables that go with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::bail;
use crate::error::{Context, Error, Result};
use crate::process::Invocation;

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// A daemon's address.
#[derive(Clone, Debug)]
pub struct Host {
    /// As in `DOCKER_HOST`, for messages.
    pub shown: String,
    pub address: Address,
    /// `DOCKER_API_VERSION`; `None`: whatever the daemon offers.
    pub api_version: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Address {
    Unix(PathBuf),
    /// `host:port`
    Tcp(String),
    Tls {
        address: String,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    },
    /// A scheme that nobody knows: every attempt to connect fails.
    Unknown,
}

impl Host {
    /// Reads `DOCKER_HOST`, `DOCKER_API_VERSION`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`.
    ///
    /// # Errors
    /// A variable cannot be understood; a certificate cannot be read.
    pub fn of(invocation: &Invocation) -> Result<Self> {
        let shown = invocation.non_empty_var("DOCKER_HOST").unwrap_or(DEFAULT_HOST).to_owned();
        let api_version = match invocation.non_empty_var("DOCKER_API_VERSION") {
            Some(version) => Some(check_version(version)?),
            None => None,
        };
        let tls = match invocation.non_empty_var("DOCKER_CERT_PATH") {
            Some(dir) => {
                let act = || format!("configure TLS from \"DOCKER_CERT_PATH={dir}\"");
                Some(tls_config(Path::new(dir), invocation.non_empty_var("DOCKER_TLS_VERIFY").is_some()).with_context(act)?)
            }
            None => None,
        };
        let address = parse(&shown, tls)?;
        Ok(Self { shown, address, api_version })
    }
}

fn check_version(text: &str) -> Result<String> {
    let version = text.strip_prefix('v').unwrap_or(text);
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match version.split_once('.') {
        Some((major, minor)) if digits(major) && digits(minor) => Ok(version.to_owned()),
        _ => bail!("invalid API version ({text}): must be formatted <major>.<minor>"),
    }
}

fn parse(host: &str, tls: Option<Arc<ClientConfig>>) -> Result<Address> {
    let Some((scheme, rest)) = host.split_once("://").filter(|(_, rest)| !rest.is_empty()) else {
        bail!("unable to parse docker host `{host}`");
    };
    if let Some(escape) = bad_escape(rest) {
        bail!("parse {host:?}: invalid URL escape {escape:?}");
    }
    // A path behind host and port means nothing here.
    let authority = rest.split('/').next().unwrap_or_default();
    Ok(match (scheme, tls) {
        ("unix", _) => Address::Unix(PathBuf::from(rest)),
        ("tcp" | "https", Some(config)) => {
            let address = with_port(authority, 2376);
            let name = address.rsplit_once(':').map_or("", |(name, _)| name).trim_matches(['[', ']']);
            let name = ServerName::try_from(name.to_owned()).map_err(|e| Error::new(format!("parse {host:?}: {e}")))?;
            Address::Tls { address, name, config }
        }
        ("tcp" | "http", _) => Address::Tcp(with_port(authority, 2375)),
        ("https", None) => bail!("{host}: https needs certificates in DOCKER_CERT_PATH"),
        _ => Address::Unknown,
    })
}

fn with_port(authority: &str, port: u16) -> String {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, p)| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    if has_port { authority.to_owned() } else { format!("{authority}:{port}") }
}

/// A `%` that two hex digits do not follow.
fn bad_escape(text: &str) -> Option<String> {
    text.match_indices('%').find_map(|(at, _)| {
        let escape: String = text[at..].chars().take(3).collect();
        let good = escape.len() == 3 && escape.bytes().skip(1).all(|b| b.is_ascii_hexdigit());
        (!good).then_some(escape)
    })
}

/// `ca.pem`, `cert.pem` and `key.pem` of a directory, as the docker command line has them. The daemon proves itself by the
/// authority in `ca.pem`; without `DOCKER_TLS_VERIFY` too, for there is no reason to speak to a stranger.
fn tls_config(dir: &Path, verify: bool) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let ca = dir.join("ca.pem");
    let read = |what: &str, path: &Path| {
        let bytes = std::fs::read(path).map_err(|e| Error::io("open", path, &e));
        bytes.with_context(|| format!("could not read {what} {:?}", path.display().to_string()))
    };
    for certificate in CertificateDer::pem_slice_iter(&read("CA certificate", &ca)?).flatten() {
        roots.add(certificate).map_err(|e| Error::new(format!("{}: {e}", ca.display())))?;
    }
    if roots.is_empty() {
        bail!("{} holds no PEM certificate", ca.display());
    }
    if !verify {
        tracing::debug!("DOCKER_TLS_VERIFY is not set; the daemon's certificate is verified nevertheless");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(format!("set up TLS: {e}")))?
        .with_root_certificates(roots);
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    if !cert.exists() && !key.exists() {
        return Ok(Arc::new(builder.with_no_client_auth()));
    }
    let certificates = CertificateDer::pem_slice_iter(&read("certificate", &cert)?).flatten().collect();
    let key_pem = read("key", &key)?;
    let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|e| Error::new(format!("{}: {e}", key.display())))?;
    let config = builder.with_client_auth_cert(certificates, key).map_err(|e| Error::new(format!("{}: {e}", cert.display())))?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(vars: &[(&str, &str)]) -> Result<Host> {
        let env = vars.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Host::of(&Invocation { env, ..Invocation::default() })
    }

    fn address(docker_host: &str) -> String {
        match host(&[("DOCKER_HOST", docker_host)]).unwrap().address {
            Address::Unix(path) => path.display().to_string(),
            Address::Tcp(address) | Address::Tls { address, .. } => address,
            Address::Unknown => "unknown".into(),
        }
    }

    #[test]
    fn reads_what_docker_reads() {
        assert!(matches!(host(&[]).unwrap().address, Address::Unix(path) if path == Path::new("/var/run/docker.sock")));
        assert_eq!(address("unix:///run/user/1/podman/podman.sock"), "/run/user/1/podman/podman.sock");
        assert_eq!(address("tcp://127.0.0.1:9"), "127.0.0.1:9");
        assert_eq!(address("http://127.0.0.1:15434/x"), "127.0.0.1:15434");
        assert_eq!(address("tcp://host"), "host:2375");
        assert_eq!(address("tcp://[::1]:7"), "[::1]:7");
        assert_eq!(address("foo://127.0.0.1:9"), "unknown");
    }

    #[test]
    fn refuses_what_docker_refuses() {
        let text = |vars: &[(&str, &str)]| host(vars).unwrap_err().to_string();
        assert_eq!(text(&[("DOCKER_HOST", "/run/docker.sock")]), "unable to parse docker host `/run/docker.sock`");
        assert_eq!(text(&[("DOCKER_HOST", "unix://%zz")]), "parse \"unix://%zz\": invalid URL escape \"%zz\"");
        assert_eq!(text(&[("DOCKER_API_VERSION", "new")]), "invalid API version (new): must be formatted <major>.<minor>");
        assert_eq!(
            text(&[("DOCKER_CERT_PATH", "/none")]),
            "configure TLS from \"DOCKER_CERT_PATH=/none\": could not read CA certificate \"/none/ca.pem\": \
             open /none/ca.pem: no such file or directory"
        );
        assert_eq!(host(&[("DOCKER_API_VERSION", "v1.40")]).unwrap().api_version.as_deref(), Some("1.40"));
    }
}
