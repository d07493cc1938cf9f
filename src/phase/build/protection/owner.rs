//! A buildpack's directory below the layers directory, as the buildpack left it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::outputs::Layers;
use super::policy::Policy;
use super::violation::Violation;
use crate::error::{Error, Result};
use crate::layers::kept::{self, KeptLayers};
use crate::layers::load_order::is_build_write;
use crate::layers::remove::remove_tree;
use crate::layers::snapshot::{Change, Snapshot};
use crate::layers::source::LayerSource;

#[derive(Debug)]
pub(super) struct Owner {
    pub id: String,
    pub dir: PathBuf,
    /// Layers that other buildpacks may change: `build-write`.
    build_write: BTreeSet<Vec<u8>>,
    policy: Policy,
    snapshot: Snapshot,
    kept: KeptLayers,
    /// With [`super::Mode::Discard`], what is directly in the directory, files with their content; `None` until the buildpack
    /// ran.
    entries: Option<BTreeMap<OsString, Option<Vec<u8>>>>,
}

impl Owner {
    /// The directory as restored.
    pub fn new(id: String, dir: PathBuf, policy: &Policy) -> Result<Self> {
        let mut owner = Self {
            id,
            dir,
            build_write: BTreeSet::new(),
            policy: policy.clone(),
            snapshot: Snapshot::default(),
            kept: KeptLayers::default(),
            entries: None,
        };
        owner.snapshot = owner.look()?;
        owner.snapshot.let_time_pass();
        Ok(owner)
    }

    fn look(&self) -> Result<Snapshot> {
        Snapshot::take(&self.dir, &|name| self.is_open(name))
    }

    /// Whether other buildpacks may change the layer. Its `<layer>.toml` they may not.
    fn is_open(&self, layer: &[u8]) -> bool {
        self.build_write.contains(layer) || self.policy.allows(&self.id, layer)
    }

    /// Directories of layers that other buildpacks may change.
    pub fn open_layers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.filter(|e| self.is_open(e.file_name().as_bytes())).map(|e| e.path()).collect()
    }

    /// What changed since the last look.
    pub fn changes(&mut self) -> Result<Vec<Change>> {
        let now = self.look()?;
        let mut changes = self.snapshot.changes(&now);
        changes.retain(|change| !self.is_open(change.top()));
        self.snapshot = now;
        Ok(changes)
    }

    /// Whether a layer's tar is what it was, whatever happened to its inodes. Only for kept layers is that known, and only
    /// for changes of the directory.
    pub fn is_unchanged(&self, violation: &Violation, owner: kept::Owner) -> bool {
        let Some(name) = &violation.layer else { return false };
        if violation.changes.iter().any(|c| c.top() != name.as_bytes()) {
            return false;
        }
        let source = LayerSource::Directory { path: self.dir.join(name), uid: owner.uid, gid: owner.gid };
        self.kept.diff_id(name).is_some_and(|kept| source.diff_id().is_ok_and(|now| now == *kept))
    }

    /// The buildpack ran: what is there now is what it left. `keep` names the layers directory and the user of kept layers.
    pub fn settle(&mut self, layers: &Layers, honours_proposals: bool, keep: Option<(&Path, kept::Owner)>) -> Result<()> {
        let is_open =
            |(name, toml): &(&OsString, &_)| is_build_write(toml, &format!("{}:{}", self.id, name.display()), honours_proposals);
        self.build_write = layers.iter().filter(is_open).map(|(name, _)| name.as_bytes().to_vec()).collect();
        if let Some((layers_dir, owner)) = keep {
            let is_kept = |name: &str| {
                let exported = layers.get(&OsString::from(name)).is_some_and(|t| t.launch || t.cache);
                exported && self.dir.join(name).is_dir() && !self.is_open(name.as_bytes())
            };
            let names: Vec<_> = layers.keys().filter_map(|n| n.to_str()).filter(|n| is_kept(n)).map(str::to_owned).collect();
            self.kept = KeptLayers::keep(layers_dir, &self.id, &names, owner)?;
            self.entries = Some(self.read_entries()?);
        }
        self.snapshot = self.look()?;
        self.snapshot.let_time_pass();
        Ok(())
    }

    fn read_entries(&self) -> Result<BTreeMap<OsString, Option<Vec<u8>>>> {
        let mut entries = BTreeMap::new();
        for (name, path, is_file) in self.list()? {
            let content = if is_file { Some(fs::read(&path).map_err(|e| Error::io("open", &path, &e))?) } else { None };
            entries.insert(name, content);
        }
        Ok(entries)
    }

    fn list(&self) -> Result<Vec<(OsString, PathBuf, bool)>> {
        let mut list = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|e| Error::io("open", &self.dir, &e))? {
            let entry = entry.map_err(|e| Error::io("readdirent", &self.dir, &e))?;
            list.push((entry.file_name(), entry.path(), entry.file_type().is_ok_and(|t| t.is_file())));
        }
        Ok(list)
    }

    /// Puts back the files beside the layers, such as `<layer>.toml`, and removes what others put there: the rest of the
    /// lifecycle reads them from disk. Of a buildpack that did not run yet nothing counts before it ran.
    pub fn put_back(&mut self) -> Result<()> {
        let Some(entries) = &self.entries else { return Ok(()) };
        fs::create_dir_all(&self.dir).map_err(|e| Error::io("mkdir", &self.dir, &e))?;
        for (name, path, _) in self.list()? {
            if !entries.contains_key(&name) && !self.is_open(name.as_bytes()) {
                remove_tree(&path)?;
            }
        }
        let files = entries.iter().filter_map(|(name, content)| Some((self.dir.join(name), content.as_ref()?)));
        for (path, content) in files {
            let is_same = fs::symlink_metadata(&path).is_ok_and(|m| m.is_file()) && fs::read(&path).is_ok_and(|c| c == *content);
            if !is_same {
                remove_tree(&path)?;
                fs::write(&path, content).map_err(|e| Error::io("open", &path, &e))?;
            }
        }
        self.snapshot = self.look()?;
        Ok(())
    }
}
