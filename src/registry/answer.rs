//! What is read from answers, and from their absence.

use std::time::SystemTime;

use reqwest::header::{LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Response, Url};

use super::challenge::Challenge;
use super::fault::Kind;

/// Where an upload goes on, as the registry says; relative to the request.
pub(super) fn location(response: &Response) -> Option<Url> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    response.url().join(text).ok()
}

/// Seconds or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(response: &Response) -> Option<u32> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    text.parse().ok().or_else(|| seconds_until(text))
}

fn seconds_until(date: &str) -> Option<u32> {
    let seconds = super::download::http_date(date)?.duration_since(SystemTime::now()).map_or(0, |wait| wait.as_secs());
    u32::try_from(seconds).ok()
}

pub(super) fn challenge_of(response: &Response) -> Challenge {
    Challenge::parse(response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok()))
}

/// RFC 6750 §3.1: the token itself is the trouble, not what it allows.
pub(super) fn says_invalid(response: &Response) -> bool {
    let lines = response.headers().get_all(WWW_AUTHENTICATE);
    lines.iter().filter_map(|line| line.to_str().ok()).any(|line| line.contains("error=\"invalid_token\""))
}

pub(super) fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// The chain of causes, without the URL, whose query may hold a signature.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let this = error.to_string();
        // Wrappers repeat what they wrap.
        if !text.ends_with(&this) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&this);
        }
        cause = error.source();
    }
    if text.is_empty() { if error.is_timeout() { "timed out".to_owned() } else { "request failed".to_owned() } } else { text }
}

pub(super) fn kind_of(error: &reqwest::Error) -> Kind {
    let text = describe(error);
    let tls = ["certificate", "tls", "TLS", "InvalidMessage", "InvalidContentType", "received corrupt message"];
    if error.is_builder() || error.is_redirect() || (error.is_connect() && tls.iter().any(|word| text.contains(word))) {
        Kind::Permanent
    } else if error.is_connect() {
        Kind::Unreachable
    } else {
        Kind::Connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_retry_after() {
        assert_eq!(seconds_until("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
        assert!(seconds_until("Wed, 21 Oct 2099 07:28:00 GMT").is_some_and(|s| s > 1_000_000));
        assert_eq!(seconds_until("soon"), None);
    }

    #[test]
    fn urls_in_messages_hold_no_secrets() {
        let url: Url = "https://u:p@r.io/v2/x?sig=secret".parse().unwrap();
        assert_eq!(without_query(&url), "https://r.io/v2/x");
    }
}
