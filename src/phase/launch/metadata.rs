//! What the launcher reads of `<layers>/config/metadata.toml`.

use std::ffi::OsString;
use std::fs;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::toml_error;
use crate::api::BuildpackApi;
use crate::error::{Error, Result};

#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub processes: Vec<Process>,
    /// In the order of the group.
    pub buildpacks: Vec<Buildpack>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    /// Empty for a command that the user gave.
    pub kind: String,
    pub command: Vec<OsString>,
    pub args: Vec<OsString>,
    pub direct: bool,
    pub buildpack_id: String,
    pub working_dir: String,
    pub exec_env: Vec<OsString>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Buildpack {
    pub id: String,
    pub api: String,
    /// The order of its layers where it is not that of their names (layer-protection-and-order.md §5.4).
    pub ordered_layers: Vec<OsString>,
}

impl Metadata {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::io("open", path, &e))?;
        let text = std::str::from_utf8(&bytes).map_err(|e| Error::new(format!("toml: {e}")))?;
        Self::parse(text)
    }

    fn parse(text: &str) -> Result<Self> {
        let document =
            DeTable::parse(text).map_err(|e| toml_error(text, e.span().map_or(0, |s| s.start), e.message()))?.into_inner();
        let document = Table { text, name: "", table: &document };
        let mut metadata = Self::default();
        for table in document.tables("processes")? {
            metadata.processes.push(Process {
                kind: table.string("type")?,
                command: table.one_or_more("command")?,
                args: table.list("args")?,
                direct: table.boolean("direct")?,
                buildpack_id: table.string("buildpack-id")?,
                working_dir: table.string("working-dir")?,
                exec_env: table.list("exec-env")?,
            });
        }
        for table in document.tables("buildpacks")? {
            metadata.buildpacks.push(Buildpack {
                id: table.string("id")?,
                api: table.string("api")?,
                ordered_layers: table.list("ordered-layers")?,
            });
        }
        Ok(metadata)
    }

    pub fn check_buildpack_apis(&self) -> Result<()> {
        self.buildpacks.iter().try_for_each(|b| BuildpackApi::requested("buildpack", &b.id, &b.api).map(drop))
    }

    /// The buildpack that brought the process.
    pub fn buildpack(&self, id: &str) -> Option<&Buildpack> {
        self.buildpacks.iter().find(|b| b.id == id)
    }

    /// A process of a buildpack that the file does not list is refused where its API would matter.
    pub fn check_origin(&self, process: &Process) -> Result<()> {
        let id = &process.buildpack_id;
        if id.is_empty() || self.buildpack(id).is_some() {
            return Ok(());
        }
        Err(Error::new(format!("process type '{}' provided by unknown buildpack '{id}'", process.kind)))
    }
}

/// A table with what is needed to name a wrong value.
struct Table<'a> {
    text: &'a str,
    name: &'a str,
    table: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    fn get(&self, key: &str) -> Option<(&'a DeValue<'a>, Range<usize>)> {
        self.table.get(key).map(|value| (value.get_ref(), value.span()))
    }

    fn wrong(&self, key: &str, value: &DeValue<'_>, at: &Range<usize>, wanted: &str) -> Error {
        let (name, found) = (self.name, value.type_str());
        toml_error(self.text, at.start, &format!("{name}{key}: {wanted} is wanted, {found} was found"))
    }

    fn string(&self, key: &str) -> Result<String> {
        let Some((value, at)) = self.get(key) else { return Ok(String::new()) };
        value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(key, value, &at, "a string"))
    }

    fn boolean(&self, key: &str) -> Result<bool> {
        let Some((value, at)) = self.get(key) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.wrong(key, value, &at, "a boolean"))
    }

    fn list(&self, key: &str) -> Result<Vec<OsString>> {
        let Some((value, at)) = self.get(key) else { return Ok(Vec::new()) };
        let wrong = || self.wrong(key, value, &at, "an array of strings");
        let array = value.as_array().ok_or_else(wrong)?;
        array.iter().map(|item| item.get_ref().as_str().map(OsString::from).ok_or_else(wrong)).collect()
    }

    /// A string stands for a list of one: below Platform API 0.10 a command is a string.
    fn one_or_more(&self, key: &str) -> Result<Vec<OsString>> {
        match self.get(key) {
            Some((DeValue::String(one), _)) => Ok(vec![one.as_ref().into()]),
            _ => self.list(key),
        }
    }

    fn tables(&self, key: &'a str) -> Result<Vec<Table<'a>>> {
        let Some((value, at)) = self.get(key) else { return Ok(Vec::new()) };
        let wrong = || self.wrong(key, value, &at, "an array of tables");
        let array = value.as_array().ok_or_else(wrong)?;
        let name = if key == "processes" { "processes." } else { "buildpacks." };
        array
            .iter()
            .map(|item| item.get_ref().as_table().map(|table| Table { text: self.text, name, table }).ok_or_else(wrong))
            .collect()
    }
}
