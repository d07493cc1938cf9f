//! Docker's `config.json` and podman's `auth.json`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use std::collections::BTreeMap;

use super::header::basic;
use super::helper::Helper;
use super::{Credentials, fit, server_name};
use crate::error::{Error, Result};

/// One file. Secrets in it do not show in its `Debug`.
#[derive(Debug)]
pub(super) struct DockerConfig {
    path: PathBuf,
    auths: Vec<(String, Credentials)>,
    helpers: Vec<(String, Helper)>,
    store: Option<Helper>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct File {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    creds_store: String,
    #[serde(rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl DockerConfig {
    /// `None` if there is no such file.
    pub(super) fn read(path: &Path, env: &[(OsString, OsString)]) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(Error::io("open", path, &e)),
        };
        // serde's messages quote what they find, which may be a secret.
        let file: File = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(format!("not a docker config: line {}, column {}", e.line(), e.column())))?;
        Ok(Some(Self {
            path: path.to_owned(),
            auths: file.auths.into_iter().filter_map(|(key, entry)| Some((key, entry.credentials()?))).collect(),
            helpers: file.cred_helpers.into_iter().map(|(key, program)| (key, Helper::new(&program, env))).collect(),
            store: Some(file.creds_store).filter(|store| !store.is_empty()).map(|store| Helper::new(&store, env)),
        }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The helper to ask: that of the registry (or of a path in it), else the one for all.
    pub(super) fn helper(&self, registry: &str, repository: &str) -> Option<&Helper> {
        let named = |(key, helper)| Some((fit(key, registry, repository)?, helper));
        let best = self.helpers.iter().map(|(key, helper)| (key.as_str(), helper)).filter_map(named).max_by_key(|(fit, _)| *fit);
        best.map(|(_, helper)| helper).or(self.store.as_ref())
    }

    /// What the file itself says of the repository, its most specific entry.
    pub(super) fn find(&self, registry: &str, repository: &str) -> Option<Credentials> {
        let exact = |key: &str| usize::from(key == registry || key == server_name(registry));
        let fits = self.auths.iter().filter_map(|(key, found)| Some(((fit(key, registry, repository)?, exact(key)), found)));
        fits.max_by_key(|(fit, _)| *fit).map(|(_, found)| found.clone())
    }
}

impl Entry {
    /// `None` for an entry without content, as `credsStore` leaves them.
    fn credentials(self) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials::Identity(self.identitytoken));
        }
        if !self.registrytoken.is_empty() {
            return Some(Credentials::Bearer(self.registrytoken));
        }
        if !self.auth.is_empty() {
            return basic(&self.auth);
        }
        (!self.username.is_empty()).then_some(Credentials::Basic { user: self.username, password: self.password })
    }
}
