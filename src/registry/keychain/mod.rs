//! Credentials: where they are looked for, in which order, and how they are kept from leaking.
//!
//! Order: `CNB_REGISTRY_AUTH`, the file `CNB_REGISTRY_AUTH_FILE`, docker's `config.json`, podman's `auth.json`, credential
//! helpers of cloud vendors that are installed. Files are read when the keychain is made, while the process may still be
//! root; helpers run lazily, only for the registry in question, or ahead of time by [`Keychain::prefetch`].

mod docker_config;
mod header;
mod helper;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use tracing::{debug, warn};

use docker_config::DockerConfig;
use helper::Helper;

use crate::error::{Context, Result};
use crate::image::ImageReference;
use crate::image::reference::DEFAULT_REGISTRY;
use crate::process::Invocation;

/// A way to prove who one is. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Anonymous,
    Basic {
        user: String,
        password: String,
    },
    /// A token that the registry itself takes.
    Bearer(String),
    /// A refresh token, for which the token server gives access tokens (OAuth2).
    Identity(String),
    /// An `Authorization` header of another kind, sent as it is.
    Header(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic(<secret>)",
            Self::Bearer(_) => "Bearer(<secret>)",
            Self::Identity(_) => "Identity(<secret>)",
            Self::Header(_) => "Header(<secret>)",
        })
    }
}

/// Credentials and where they are from, for messages: `CNB_REGISTRY_AUTH`, a path, `docker-credential-x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub credentials: Credentials,
    pub source: String,
}

impl Found {
    fn none() -> Self {
        Self { credentials: Credentials::Anonymous, source: "none".to_owned() }
    }
}

/// All credentials of this process.
#[derive(Debug)]
pub struct Keychain {
    headers: Vec<(String, Credentials)>,
    files: Vec<DockerConfig>,
    vendors: Vec<(&'static str, Helper)>,
    /// What helpers said, by helper and server. Asked once.
    told: Mutex<HashMap<(String, String), Option<Credentials>>>,
    timeout: Duration,
}

/// How long one credential helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

impl Keychain {
    /// Reads variables and files. A file that cannot be read or understood is left out with a warning.
    ///
    /// # Errors
    /// If `CNB_REGISTRY_AUTH` is not a JSON object of strings.
    pub fn load(invocation: &Invocation) -> Result<Self> {
        let headers = header::parse(invocation.var("CNB_REGISTRY_AUTH").unwrap_or_default()).context("reading auth env var")?;
        let env = helper_environment(invocation);
        let mut files = Vec::new();
        for path in files_to_read(invocation) {
            match DockerConfig::read(&path, &env) {
                Ok(Some(config)) => {
                    debug!("Reading registry credentials from {}", path.display());
                    files.push(config);
                }
                Ok(None) => {}
                Err(error) => warn!("Ignoring registry credentials in {}: {error}", path.display()),
            }
        }
        let keychain =
            Self { headers, files, vendors: vendors(invocation, &env), told: Mutex::default(), timeout: HELPER_TIMEOUT };
        if !keychain.headers.is_empty() || !keychain.files.is_empty() {
            // Keeps other processes of the same user (a buildpack's) from reading this process' memory and environment, and
            // secrets out of core dumps.
            let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
        }
        Ok(keychain)
    }

    /// No credentials at all.
    pub fn anonymous() -> Self {
        Self { headers: Vec::new(), files: Vec::new(), vendors: Vec::new(), told: Mutex::default(), timeout: HELPER_TIMEOUT }
    }

    /// Asks the helpers that these images need, all at once: the user that the process becomes may not be allowed to run
    /// them. Names that cannot be parsed are skipped.
    pub fn prefetch(&self, images: &[&str]) {
        let references: Vec<ImageReference> = images.iter().filter_map(|name| ImageReference::parse(name).ok()).collect();
        let mut asked: Vec<(Helper, String)> = Vec::new();
        for reference in &references {
            for (helper, server) in self.helpers_for(&reference.registry, &reference.repository) {
                let key = (helper.name(), server.clone());
                if !self.lock().contains_key(&key) && !asked.iter().any(|(h, s)| (h.name(), s) == (key.0.clone(), &key.1)) {
                    asked.push((helper.clone(), server));
                }
            }
        }
        let answers = helper::ask_all(&asked, self.timeout);
        for ((helper, server), answer) in asked.into_iter().zip(answers) {
            self.remember(&helper, server, answer);
        }
    }

    /// Credentials for a repository. Anonymous if there are none.
    pub fn resolve(&self, registry: &str, repository: &str) -> Found {
        if let Some(credentials) = header::find(&self.headers, registry, repository) {
            return Found { credentials, source: "CNB_REGISTRY_AUTH".to_owned() };
        }
        for file in &self.files {
            if let Some(helper) = file.helper(registry, repository)
                && let Some(found) = self.ask(helper, &server_name(registry))
            {
                return found;
            }
            if let Some(credentials) = file.find(registry, repository) {
                return Found { credentials, source: file.path().display().to_string() };
            }
        }
        for (_, helper) in self.vendors.iter().filter(|(vendor, _)| serves(vendor, registry)) {
            if let Some(found) = self.ask(helper, registry) {
                return found;
            }
        }
        Found::none()
    }

    /// Whether [`Self::resolve`] can answer at once, without starting a helper.
    pub fn knows(&self, registry: &str, repository: &str) -> bool {
        let helpers = self.helpers_for(registry, repository);
        let told = self.lock();
        helpers.into_iter().all(|(helper, server)| told.contains_key(&(helper.name(), server)))
    }

    /// After a registry refused what a helper gave: asks the helper again, as the user that the process is by now. `false`: no
    /// helper was involved, or it said the same.
    pub fn refresh(&self, registry: &str, repository: &str) -> bool {
        let before = self.resolve(registry, repository);
        let mut asked = false;
        for (helper, server) in self.helpers_for(registry, repository) {
            let key = (helper.name(), server.clone());
            let known = self.lock().get(&key).cloned();
            if let Some(Some(old)) = known {
                asked = true;
                match helper::ask_all(&[(helper.clone(), server)], self.timeout).pop() {
                    Some(Ok(Some(new))) => {
                        self.lock().insert(key, Some(new));
                    }
                    // The old ones may still be good for something else.
                    _ => {
                        self.lock().insert(key, Some(old));
                    }
                }
            }
        }
        asked && self.resolve(registry, repository) != before
    }

    fn helpers_for(&self, registry: &str, repository: &str) -> Vec<(Helper, String)> {
        if header::find(&self.headers, registry, repository).is_some() {
            return Vec::new();
        }
        let mut helpers: Vec<(Helper, String)> = Vec::new();
        for file in &self.files {
            if let Some(helper) = file.helper(registry, repository) {
                helpers.push((helper.clone(), server_name(registry)));
            } else if file.find(registry, repository).is_some() {
                return helpers;
            }
        }
        let vendors = self.vendors.iter().filter(|(vendor, _)| serves(vendor, registry));
        helpers.extend(vendors.map(|(_, helper)| (helper.clone(), registry.to_owned())));
        helpers
    }

    fn ask(&self, helper: &Helper, server: &str) -> Option<Found> {
        let key = (helper.name(), server.to_owned());
        let known = self.lock().get(&key).cloned();
        let credentials = match known {
            Some(known) => known,
            None => {
                let answer = helper::ask_all(&[(helper.clone(), server.to_owned())], self.timeout).pop().unwrap_or(Ok(None));
                self.remember(helper, server.to_owned(), answer)
            }
        };
        credentials.map(|credentials| Found { credentials, source: helper.name() })
    }

    fn remember(&self, helper: &Helper, server: String, answer: Result<Option<Credentials>>) -> Option<Credentials> {
        let credentials = answer.unwrap_or_else(|error| {
            warn!("No registry credentials for {server}: {error}");
            None
        });
        self.lock().insert((helper.name(), server), credentials.clone());
        credentials
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Option<Credentials>>> {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What docker calls the registry: Docker Hub has a URL for historical reasons.
fn server_name(registry: &str) -> String {
    if registry == DEFAULT_REGISTRY { "https://index.docker.io/v1/".to_owned() } else { registry.to_owned() }
}

/// The name of a key in an auth file: host, then perhaps a path. `https://index.docker.io/v1/` is a host.
fn key_parts(key: &str) -> (String, &str) {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = path.trim_end_matches('/');
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let host = if matches!(host, "docker.io" | "registry-1.docker.io") { DEFAULT_REGISTRY } else { host };
    (host.to_owned(), path)
}

/// How well a key fits: `None` not at all, else the length of the path that it names.
fn fit(key: &str, registry: &str, repository: &str) -> Option<usize> {
    let (host, path) = key_parts(key);
    let inside = path.is_empty() || repository == path || repository.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    (host == registry && inside).then_some(path.len())
}

fn files_to_read(invocation: &Invocation) -> Vec<PathBuf> {
    let dir = |name: &str| invocation.non_empty_var(name).map(PathBuf::from);
    let home = dir("HOME");
    let mut files: Vec<PathBuf> = dir("CNB_REGISTRY_AUTH_FILE").into_iter().collect();
    let docker = dir("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
    files.extend(docker.map(|dir| dir.join("config.json")));
    files.extend(dir("REGISTRY_AUTH_FILE"));
    files.extend(dir("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")));
    let config = dir("XDG_CONFIG_HOME").or_else(|| home.map(|home| home.join(".config")));
    files.extend(config.map(|dir| dir.join("containers/auth.json")));
    files
}

/// A helper gets this process' environment without the credentials that it has no business with.
fn helper_environment(invocation: &Invocation) -> Vec<(OsString, OsString)> {
    let env = invocation.env.iter().filter(|(name, _)| *name != "CNB_REGISTRY_AUTH");
    env.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Helpers of vendors that are installed. `CNB_REGISTRY_AUTH_KEYCHAIN_SKIP_<VENDOR>=true` leaves one out.
fn vendors(invocation: &Invocation, env: &[(OsString, OsString)]) -> Vec<(&'static str, Helper)> {
    let programs = [("AMAZON", "ecr-login"), ("AZURE", "acr-env"), ("GOOGLE", "gcr"), ("GOOGLE", "gcloud")];
    let wanted = programs
        .into_iter()
        .filter(|(vendor, _)| invocation.var(&format!("CNB_REGISTRY_AUTH_KEYCHAIN_SKIP_{vendor}")) != Some("true"));
    wanted
        .filter(|(_, program)| is_installed(invocation, &format!("docker-credential-{program}")))
        .map(|(vendor, program)| (vendor, Helper::new(program, env)))
        .collect()
}

fn is_installed(invocation: &Invocation, program: &str) -> bool {
    let path = invocation.var("PATH").unwrap_or_default();
    path.split(':').filter(|dir| !dir.is_empty()).any(|dir| Path::new(dir).join(program).is_file())
}

fn serves(vendor: &str, registry: &str) -> bool {
    let host = super::hosts::host_of(registry);
    match vendor {
        "AMAZON" => host == "public.ecr.aws" || (host.contains(".dkr.ecr") && host.contains(".amazonaws.com")),
        "AZURE" => [".azurecr.io", ".azurecr.cn", ".azurecr.us", ".azurecr.de"].iter().any(|end| host.ends_with(end)),
        "GOOGLE" => host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with("-docker.pkg.dev"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
