//! `store.toml` (buildpack.md, "store.toml").

use super::value::Table;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreToml {
    pub metadata: Option<Table>,
}
