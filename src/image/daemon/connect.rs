//! Connections to the daemon. Every request gets one of its own: a daemon closes idle ones, and one that is closed under a
//! request cannot be told from a daemon that went away.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::host::{Address, Host};
use super::socket_helper::SocketHelper;
use crate::error::{Context, Error, Result};

/// Opens connections to one daemon.
#[derive(Debug)]
pub struct Connector {
    host: Host,
    helper: Option<SocketHelper>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A byte stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connector {
    /// To be called with the privileges that the program was started with. A socket that root owns is opened at once, to
    /// tell early that nobody listens; if the user will change (`drops_privileges`), a helper stays behind that opens it.
    ///
    /// # Errors
    /// A root-owned socket cannot be opened; the helper cannot be started.
    pub fn new(host: Host, exe: &Path, drops_privileges: bool) -> Result<Self> {
        let mut helper = None;
        if let Address::Unix(path) = &host.address
            && std::fs::metadata(path).is_ok_and(|m| m.uid() == 0)
        {
            let act = || format!("failed to connect to docker socket: dial unix {}: connect", path.display());
            let is_socket = std::fs::metadata(path).is_ok_and(|m| m.file_type().is_socket());
            UnixStream::connect(path).map_err(Error::from).with_context(act)?;
            if drops_privileges && is_socket {
                helper = Some(SocketHelper::start(exe, path)?);
            }
        }
        Ok(Self { host, helper })
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// A new connection, in the words of docker if there is none.
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>> {
        self.open().await.map_err(|error| self.explain(&error))
    }

    async fn open(&self) -> std::io::Result<Box<dyn Stream>> {
        match &self.host.address {
            Address::Unix(path) => {
                let stream = match &self.helper {
                    Some(helper) => helper.connect()?,
                    None => UnixStream::connect(path)?,
                };
                stream.set_nonblocking(true)?;
                Ok(Box::new(tokio::net::UnixStream::from_std(stream)?))
            }
            Address::Tcp(address) => Ok(Box::new(tcp(address)?)),
            Address::Tls { address, name, config } => {
                let stream = tcp(address)?;
                let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::clone(config));
                Ok(Box::new(connector.connect(name.clone(), stream).await?))
            }
            Address::Unknown => Err(std::io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn explain(&self, error: &std::io::Error) -> Error {
        let shown = &self.host.shown;
        match (error.kind(), &self.host.address) {
            (std::io::ErrorKind::PermissionDenied, _) => {
                Error::new(format!("permission denied while trying to connect to the docker API at {shown}"))
            }
            (std::io::ErrorKind::NotFound, Address::Unix(path)) => Error::from(std::io::Error::from(error.kind()))
                .context(format!("dial unix {}: connect", path.display()))
                .context(format!(
                    "failed to connect to the docker API at {shown}; check if the path is correct and if the daemon is running"
                )),
            (std::io::ErrorKind::ConnectionRefused, _) => {
                Error::new(format!("Cannot connect to the Docker daemon at {shown}. Is the docker daemon running?"))
            }
            _ => Error::new(format!("error during connect to {shown}: {error}{}", self.hint(&error.to_string()))),
        }
    }

    /// What the daemon may mean with a TLS alert, which is a word or two. It may come after the connection was opened.
    pub(super) fn hint(&self, error: &str) -> &'static str {
        match &self.host.address {
            Address::Tls { config, .. } if error.contains("alert") && !config.client_auth_cert_resolver.has_certs() => {
                " (it may want a client certificate: there is no cert.pem in DOCKER_CERT_PATH)"
            }
            _ => "",
        }
    }
}

fn tcp(address: &str) -> std::io::Result<tokio::net::TcpStream> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nonblocking(true)?;
                return tokio::net::TcpStream::from_std(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
