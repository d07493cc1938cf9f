//! `CNB_REGISTRY_AUTH`: a JSON object of registry → `Authorization` header (platform.md, "Registry Authentication").

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use serde_json::Value;

use super::{Credentials, fit, key_parts};
use crate::bail;
use crate::error::{Error, Result};

/// # Errors
/// If the text is not a JSON object of strings. The message never quotes a value.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Credentials)>> {
    const ACT: &str = "failed to parse CNB_REGISTRY_AUTH value";
    if text.is_empty() {
        return Ok(Vec::new());
    }
    // serde's messages quote what they find, which may be a secret.
    let Ok(json) = serde_json::from_str::<Value>(text) else { bail!("{ACT}: not JSON") };
    let object = match json {
        Value::Object(object) => object,
        Value::Null => return Ok(Vec::new()),
        _ => bail!("{ACT}: not a JSON object"),
    };
    object
        .into_iter()
        .map(|(registry, header)| match header {
            Value::String(header) => Ok((registry, credentials(&header))),
            Value::Null => Ok((registry, Credentials::Anonymous)),
            _ => Err(Error::new(format!("{ACT}: the value of {registry:?} is not a string"))),
        })
        .collect()
}

/// The header of the most specific key. A key that names a path of the registry is also good for the rest of it if nothing
/// else is known: the reference looks at the host only.
pub(super) fn find(headers: &[(String, Credentials)], registry: &str, repository: &str) -> Option<Credentials> {
    let best =
        headers.iter().filter_map(|(key, found)| Some((fit(key, registry, repository)?, found))).max_by_key(|(fit, _)| *fit);
    let of_host = || headers.iter().find(|(key, _)| key_parts(key).0 == registry).map(|(_, found)| found);
    best.map(|(_, found)| found).or_else(of_host).cloned()
}

/// An empty header means anonymous.
fn credentials(header: &str) -> Credentials {
    let header = header.trim();
    let (scheme, value) = header.split_once(' ').map_or((header, ""), |(scheme, value)| (scheme, value.trim()));
    match scheme.to_ascii_lowercase().as_str() {
        "" => Credentials::Anonymous,
        "bearer" => Credentials::Bearer(value.to_owned()),
        "x-identity" => Credentials::Identity(value.to_owned()),
        "basic" => basic(value).unwrap_or_else(|| Credentials::Header(header.to_owned())),
        _ => Credentials::Header(header.to_owned()),
    }
}

/// `user:password` in base64, padded or not.
pub(super) fn basic(encoded: &str) -> Option<Credentials> {
    let encoded = encoded.trim();
    let bytes = BASE64_STANDARD.decode(encoded).or_else(|_| BASE64_STANDARD_NO_PAD.decode(encoded.trim_end_matches('='))).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    // Docker itself pads old entries with NUL.
    Some(Credentials::Basic { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
}
