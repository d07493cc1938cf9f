//! Files from elsewhere: what `ADD <url>` of a Dockerfile names. The way is that of requests to registries: the same
//! proxies, certificates and rules for redirects, but no credentials.

use std::io::Write;
use std::time::{Duration, SystemTime};

use reqwest::Url;
use reqwest::header::LAST_MODIFIED;
use tokio::sync::mpsc;

use super::answer::describe;
use super::clients::Clients;
use super::hosts::Way;
use super::options::Options;
use super::runtime::Runtime;
use crate::error::{Error, Result};
use crate::image::time::days_since_epoch;
use crate::process::Invocation;

/// Writes the file to `to`. Returns its time of modification, if the server tells.
///
/// # Errors
/// A URL other than http and https, no connection, an answer other than 200, no progress for `CNB_REGISTRY_TIMEOUT`.
pub fn download(invocation: &Invocation, url: &str, to: &mut dyn Write) -> Result<Option<SystemTime>> {
    let failed = |cause: &dyn std::fmt::Display| Error::new(format!("download {url}: {cause}"));
    let options = Options::read(invocation, &[])?;
    let parsed: Url = url.parse().map_err(|e| failed(&e))?;
    let host = parsed.host_str().unwrap_or_default().to_owned();
    let client = Clients::default().get(Way::Https, &host, &options)?.clone();
    let patience = options.patience;
    let runtime = Runtime::start()?;
    let (send, mut chunks) = mpsc::channel(4);
    let transfer = runtime.spawn(async move {
        let idle = |_| format!("no progress for {} s", patience.as_secs());
        let answer = tokio::time::timeout(patience, client.get(parsed).send()).await.map_err(idle)?;
        let mut answer = answer.map_err(|e| describe(&e))?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(format!("status {}", answer.status()));
        }
        let modified = answer.headers().get(LAST_MODIFIED).and_then(|v| v.to_str().ok()).and_then(http_date);
        while let Some(chunk) = tokio::time::timeout(patience, answer.chunk()).await.map_err(idle)?.map_err(|e| describe(&e))? {
            if send.send(chunk).await.is_err() {
                break;
            }
        }
        Ok(modified)
    });
    while let Some(chunk) = chunks.blocking_recv() {
        to.write_all(&chunk).map_err(|e| failed(&e))?;
    }
    transfer.wait()?.map_err(|cause| failed(&cause))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let month = MONTHS.iter().position(|m| m == month)? as i64 + 1;
    let days = days_since_epoch(year.parse().ok()?, month, day.parse().ok()?);
    let clock: Vec<i64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = clock.as_slice() else { return None };
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// Answers one request on the loopback device.
    fn serve(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/dir/file.txt", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        url
    }

    #[test]
    fn content_and_time() {
        let url = serve("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\ncontent");
        let mut content = Vec::new();
        let modified = download(&Invocation::default(), &url, &mut content).unwrap();
        assert_eq!(content, b"content");
        assert_eq!(modified, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)));
    }

    #[test]
    fn errors_name_the_url() {
        let url = serve("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        let error = download(&Invocation::default(), &url, &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(error, format!("download {url}: status 404 Not Found"));
        let url = serve("HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\ncut off");
        let error = download(&Invocation::default(), &url, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("download {url}: ")), "{error}");
        assert!(download(&Invocation::default(), "no url", &mut Vec::new()).is_err());
    }

    #[test]
    fn dates() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:05 GMT"), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(5)));
        for text in ["", "now", "Thu, 01 Foo 1970 00:00:05 GMT", "Thu, 01 Jan 1970 00:00 GMT"] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
