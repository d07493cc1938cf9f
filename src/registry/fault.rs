//! What went wrong with a registry, told so that a person knows what to do.

use std::fmt;

use oci_client::errors::OciErrorCode;
use reqwest::StatusCode;
use serde_json::Value;

use crate::error::Error;

/// A request that failed for good, or may be tried again.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// What was being done, with the image: `read manifest of r/app:latest`.
    pub act: String,
    /// `GET https://…`, without query: that may hold signatures.
    pub request: String,
    /// `None`: there was no answer.
    pub status: Option<StatusCode>,
    /// Body message, or what happened to the connection.
    pub detail: String,
    pub attempts: u32,
    /// Where the credentials came from; empty if the request did not get that far.
    pub credentials: String,
    pub kind: Kind,
    /// The registry's own wish (`Retry-After`), seconds.
    pub retry_after: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 401, 403.
    Denied,
    /// 404.
    NotFound,
    /// 408, 429: the registry is there but wants to be left alone for a while.
    Busy,
    /// 5xx.
    Server,
    /// The connection broke or timed out.
    Connection,
    /// There was no connection: refused, no such host. A few attempts only.
    Unreachable,
    /// May be an accident: a few attempts only.
    Doubtful,
    /// Trying again will not help.
    Permanent,
}

impl Kind {
    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 | 403 => Self::Denied,
            404 => Self::NotFound,
            408 | 425 | 429 => Self::Busy,
            // 501 and 505 say that this server will never do it.
            501 | 505 => Self::Permanent,
            500..=599 => Self::Server,
            _ => Self::Permanent,
        }
    }

    pub(super) fn is_transient(self) -> bool {
        matches!(self, Self::Busy | Self::Server | Self::Connection | Self::Unreachable | Self::Doubtful)
    }
}

impl Fault {
    fn hint(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Denied if self.credentials.is_empty() || self.credentials == "none" => {
                Some("no credentials for this registry were found; give them in CNB_REGISTRY_AUTH or a docker config.json")
            }
            Kind::Denied => Some("the credentials are wrong or do not allow this"),
            Kind::Busy if self.status == Some(StatusCode::TOO_MANY_REQUESTS) => Some("the registry limits the rate of requests"),
            Kind::Permanent if self.detail.contains("certificate") => {
                Some("trust the registry's certificate with CNB_REGISTRY_CA, or name the registry with -insecure-registry")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.act, self.request)?;
        if let Some(status) = self.status {
            write!(f, ": {} {}", status.as_u16(), status.canonical_reason().unwrap_or("unknown status"))?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        let mut notes = Vec::new();
        if self.attempts > 1 {
            notes.push(format!("{} attempts", self.attempts));
        }
        if !self.credentials.is_empty() {
            notes.push(format!("credentials: {}", self.credentials));
        }
        notes.extend(self.hint().map(str::to_owned));
        if !notes.is_empty() {
            write!(f, " ({})", notes.join("; "))?;
        }
        Ok(())
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::new(fault.to_string())
    }
}

/// Codes and messages of an error body (distribution spec, "Error Codes"), or its first line if it is something else.
pub(super) fn body_message(body: &[u8]) -> String {
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        let text = String::from_utf8_lossy(body);
        let line = text.trim().lines().next().unwrap_or_default();
        return line.chars().take(200).collect();
    };
    let errors = json["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let told: Vec<String> = errors.iter().map(one_error).collect();
    if told.is_empty() {
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        return text("message")
            .or_else(|| text("details"))
            .or_else(|| text("error_description"))
            .or_else(|| text("error"))
            .unwrap_or_default();
    }
    told.join("; ")
}

fn one_error(error: &Value) -> String {
    let code = error["code"].as_str().unwrap_or("UNKNOWN");
    let message = error["message"].as_str().unwrap_or_default();
    let message = if message.is_empty() { meaning(code) } else { message };
    if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") }
}

/// What a code means when the registry does not say.
fn meaning(code: &str) -> &'static str {
    match serde_json::from_value(Value::from(code)) {
        Ok(OciErrorCode::BlobUnknown) => "blob unknown to registry",
        Ok(OciErrorCode::DigestInvalid) => "provided digest did not match uploaded content",
        Ok(OciErrorCode::ManifestUnknown) => "manifest unknown",
        Ok(OciErrorCode::ManifestBlobUnknown) => "manifest references a blob unknown to registry",
        Ok(OciErrorCode::NameUnknown) => "repository name not known to registry",
        Ok(OciErrorCode::Unauthorized) => "authentication required",
        Ok(OciErrorCode::Denied) => "requested access to the resource is denied",
        Ok(OciErrorCode::Toomanyrequests) => "too many requests",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_all_it_knows() {
        let fault = Fault {
            act: "read manifest of r/app:latest".to_owned(),
            request: "GET https://r/v2/app/manifests/latest".to_owned(),
            status: Some(StatusCode::UNAUTHORIZED),
            detail: "UNAUTHORIZED: authentication required".to_owned(),
            attempts: 2,
            credentials: "none".to_owned(),
            kind: Kind::Denied,
            retry_after: None,
        };
        assert_eq!(
            fault.to_string(),
            "read manifest of r/app:latest: GET https://r/v2/app/manifests/latest: 401 Unauthorized: UNAUTHORIZED: authentication required \
             (2 attempts; credentials: none; no credentials for this registry were found; give them in CNB_REGISTRY_AUTH or a docker config.json)"
        );
    }

    #[test]
    fn messages_of_error_bodies() {
        for (body, want) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN"},{"code":"X","message":"y"}]}"#,
                "MANIFEST_UNKNOWN: manifest unknown; X: y",
            ),
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            ("\n<html>gateway</html>\nmore", "<html>gateway</html>"),
            ("", ""),
            ("{}", ""),
        ] {
            assert_eq!(body_message(body.as_bytes()), want);
        }
    }
}
