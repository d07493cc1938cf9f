//! Keys of `<layer>.toml` that come from proposals: `load-order` (RFC pull request 322) and `build-write` (RFC pull request
//! 155). Everything about their names, values and when they count is here, because a specification may put it otherwise.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use tracing::warn;

use crate::bail;
use crate::data::layer_toml::LayerToml;
use crate::data::value::Value;
use crate::error::Result;

/// The largest value: readers that know only floating point numbers must not change it.
const MAX: i64 = (1 << 53) - 1;

/// Whether a buildpack's proposed keys count: with this value of `CNB_EXPERIMENTAL_MODE`. (The Buildpack API that has them
/// is still to come.)
pub fn honours_proposals(experimental_mode: Option<&str>) -> bool {
    matches!(experimental_mode, Some("warn" | "silent" | "quiet"))
}

/// The layers of one buildpack in the order in which they count.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LoadOrder {
    pub layers: Vec<OsString>,
    /// Some layer for the launch has an order of its own, and these are all layers for the launch: `ordered-layers`.
    pub of_launch: Option<Vec<String>>,
}

impl LoadOrder {
    /// Ascending by load-order, then by name. The last one counts most: it is first in PATH.
    ///
    /// # Errors
    /// A value that is no order, naming file, key and value; an order for a layer whose name is not UTF-8.
    pub fn of(dir: &Path, layers: &BTreeMap<OsString, LayerToml>, honoured: bool) -> Result<Self> {
        let mut order = Vec::with_capacity(layers.len());
        for (name, toml) in layers {
            let mut file = dir.join(name).into_os_string();
            file.push(".toml");
            order.push((load_order(toml, Path::new(&file), honoured)?, name));
        }
        order.sort();
        let launch = || order.iter().filter(|(_, name)| layers[*name].launch);
        let of_launch = if launch().any(|(order, _)| *order != 0) {
            let utf8 = |name: &OsString| match name.to_str() {
                Some(name) => Ok(name.to_owned()),
                None => bail!("layer '{}': load-order needs names in UTF-8", dir.join(name).display()),
            };
            Some(launch().map(|(_, name)| utf8(name)).collect::<Result<_>>()?)
        } else {
            None
        };
        Ok(Self { layers: order.into_iter().map(|(_, name)| name.clone()).collect(), of_launch })
    }
}

/// 0 if there is none.
fn load_order(toml: &LayerToml, file: &Path, honoured: bool) -> Result<i64> {
    let (key, value) = match (&toml.load_order, &toml.load_order_alias) {
        (None, None) if toml.has_misplaced_load_order && honoured => {
            bail!("the load-order key should be in the types table of {}", file.display())
        }
        (None, None) => return Ok(0),
        (Some(_), Some(_)) if honoured => {
            bail!("{}: [types] has both load-order and load_order: one of them is enough", file.display())
        }
        (Some(value), _) => ("load-order", value),
        (None, Some(value)) => ("load_order", value),
    };
    if !honoured {
        warn!("{}: [types] {key} is ignored: it counts with CNB_EXPERIMENTAL_MODE=warn or silent only", file.display());
        return Ok(0);
    }
    match *value {
        Value::Integer(order) if (0..=MAX).contains(&order) => Ok(order),
        // Tools that read integers as floating point numbers write them back so.
        Value::Float(order) if order.fract() == 0.0 && (0.0..=MAX as f64).contains(&order) => {
            warn!("{}: [types] {key} = {order:?} is taken as an integer", file.display());
            Ok(order as i64)
        }
        _ => {
            let (file, found) = (file.display(), describe(value));
            bail!("{file}: [types] {key} must be an integer from 0 to {MAX}, it is {found}")
        }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string {text:?}"),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Integer(_) => value.to_display(),
        Value::Float(f) => format!("{f:?}"),
        Value::Datetime(text) => format!("the datetime {text}"),
        Value::Array(_) => "an array".into(),
        Value::Table(_) | Value::Null => "a table".into(),
    }
}

/// Whether later buildpacks may write into the layer. Only layers for builds can say so.
pub fn is_build_write(toml: &LayerToml, layer: &str, honoured: bool) -> bool {
    if !toml.build_write {
        return false;
    }
    if !honoured {
        warn!("layer '{layer}': [types] build-write is ignored: it counts with CNB_EXPERIMENTAL_MODE=warn or silent only");
    } else if !toml.build {
        warn!("layer '{layer}': [types] build-write is ignored: the layer is not for builds");
    }
    honoured && toml.build
}

#[cfg(test)]
#[path = "load_order_tests.rs"]
mod tests;
