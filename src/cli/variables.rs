//! Variables that are no inputs of the flag table: standard ones of docker, proxies and certificates, and those of the
//! specification that no flag goes with. For the help and the reference page; the code that uses a variable reads it itself.

use super::applet::Command::{self, Analyze, Build, Create, Detect, Export, Extend, Rebase, Restore};

/// Variables that belong together, for people.
#[derive(Clone, Copy, Debug)]
pub struct Variables {
    pub names: &'static [&'static str],
    pub commands: &'static [Command],
    pub help: &'static str,
}

const REGISTRY: &[Command] = &[Analyze, Restore, Extend, Export, Create, Rebase];

pub const VARIABLES: &[Variables] = &[
    Variables {
        names: &["CNB_EXPERIMENTAL_MODE"],
        commands: &[Analyze, Detect, Extend, Build, Export, Create, Rebase],
        help: "what becomes of experimental features: error, warn, or quiet (also silent) [default: error]",
    },
    Variables {
        names: &["CNB_REGISTRY_AUTH"],
        commands: REGISTRY,
        help: "credentials: a JSON object of registry hosts and values of their Authorization headers",
    },
    Variables {
        names: &["DOCKER_CONFIG", "REGISTRY_AUTH_FILE"],
        commands: REGISTRY,
        help: "directory of docker's config.json [default: $HOME/.docker]; path of podman's auth.json",
    },
    Variables { names: &["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"], commands: REGISTRY, help: "proxies, also in lower case" },
    Variables {
        names: &["SSL_CERT_FILE", "SSL_CERT_DIR"],
        commands: REGISTRY,
        help: "certificates to trust instead of the system's",
    },
    Variables {
        names: &["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"],
        commands: &[Analyze, Restore, Export, Create, Rebase],
        help: "where the docker daemon is and how to speak to it [default: unix:///var/run/docker.sock]",
    },
    Variables {
        names: &["SOURCE_DATE_EPOCH"],
        commands: &[Export, Create],
        help: "seconds since 1970, the image's time of creation [Platform API 0.9 and later]",
    },
];
