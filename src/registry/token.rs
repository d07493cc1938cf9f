//! Tokens: got from the server that a bearer challenge names, kept by scope, shared by all phases of this process.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, Url};
use serde_json::Value;

use super::challenge::Challenge;
use super::fault::{Fault, Kind, body_message};
use super::keychain::{Credentials, Found};

/// What a request needs to be allowed: `repository:<name>:pull,push`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    pub repository: String,
    pub push: bool,
}

impl Scope {
    pub(super) fn pull(repository: &str) -> Self {
        Self { repository: repository.to_owned(), push: false }
    }

    pub(super) fn push(repository: &str) -> Self {
        Self { repository: repository.to_owned(), push: true }
    }

    fn text(&self) -> String {
        format!("repository:{}:{}", self.repository, if self.push { "pull,push" } else { "pull" })
    }

    fn covers(&self, other: &Self) -> bool {
        self.repository == other.repository && (self.push || !other.push)
    }
}

/// A token that was given for these scopes. Its `Debug` does not show it.
#[derive(Clone)]
pub(super) struct Token {
    pub value: String,
    scopes: Vec<Scope>,
    /// Who it was given to: a repository may have credentials of its own.
    owner: String,
    good_until: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({:?})", self.scopes)
    }
}

/// The tokens for one registry.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<Token>);

impl Tokens {
    pub(super) fn get(&self, scopes: &[Scope], owner: &str) -> Option<&Token> {
        let now = Instant::now();
        let covers = |token: &&Token| scopes.iter().all(|scope| token.scopes.iter().any(|given| given.covers(scope)));
        self.0.iter().filter(|token| token.owner == owner && token.good_until > now).find(covers)
    }

    pub(super) fn put(&mut self, token: Token) {
        self.0.push(token);
    }

    pub(super) fn forget(&mut self, value: &str) {
        self.0.retain(|token| token.value != value);
    }
}

/// Where and for whom a token is asked.
pub(super) struct Ask<'a> {
    pub client: &'a Client,
    /// The registry that sent the challenge.
    pub registry: &'a Url,
    pub challenge: &'a Challenge,
    pub scopes: &'a [Scope],
    pub found: &'a Found,
    pub owner: &'a str,
    pub timeout: Duration,
}

/// Asks the token server.
pub(super) async fn fetch(ask: &Ask<'_>) -> Result<Token, Fault> {
    let Challenge::Bearer { realm, service, scope } = ask.challenge else {
        return Err(ask.fault(Method::GET, String::new(), None, "registry did not ask for a token".to_owned(), Kind::Permanent));
    };
    let url =
        realm_url(realm, ask.registry).map_err(|text| ask.fault(Method::GET, realm.clone(), None, text, Kind::Permanent))?;
    // What the registry says is needed, and what we know to need.
    let mut scopes: BTreeSet<String> = ask.scopes.iter().map(Scope::text).collect();
    scopes.extend(scope.split(' ').filter(|s| !s.is_empty() && !covered(s, ask.scopes)).map(str::to_owned));
    match &ask.found.credentials {
        Credentials::Identity(refresh) => {
            let scope = scopes.into_iter().collect::<Vec<_>>().join(" ");
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service),
                ("client_id", "lifecycle"),
                ("refresh_token", refresh),
                ("scope", &scope),
            ];
            let mut body = url.clone();
            body.query_pairs_mut().clear().extend_pairs(form);
            let request = ask
                .client
                .post(url.clone())
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body.query().unwrap_or_default().to_owned());
            ask.send(Method::POST, &url, request).await
        }
        credentials => {
            let mut full = url.clone();
            if !service.is_empty() {
                full.query_pairs_mut().append_pair("service", service);
            }
            for scope in &scopes {
                full.query_pairs_mut().append_pair("scope", scope);
            }
            let mut request = ask.client.get(full);
            if let Credentials::Basic { user, password } = credentials {
                request = request.basic_auth(user, Some(password));
            }
            ask.send(Method::GET, &url, request).await
        }
    }
}

fn covered(text: &str, scopes: &[Scope]) -> bool {
    scopes.iter().any(|scope| {
        let name = format!("repository:{}:", scope.repository);
        text.strip_prefix(&name).is_some_and(|actions| actions.split(',').all(|a| a == "pull" || (a == "push" && scope.push)))
    })
}

impl Ask<'_> {
    async fn send(&self, method: Method, url: &Url, request: reqwest::RequestBuilder) -> Result<Token, Fault> {
        let failed = |detail: String, kind| self.fault(method.clone(), bare(url), None, detail, kind);
        let exchange = async {
            let response = request.send().await?;
            let (status, retry_after) = (response.status(), super::answer::retry_after(&response));
            Ok::<_, reqwest::Error>((status, retry_after, response.bytes().await?))
        };
        let (status, retry_after, body) = match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(failed(super::answer::describe(&error), super::answer::kind_of(&error))),
            Err(_) => return Err(failed("no answer in time".to_owned(), Kind::Connection)),
        };
        if !status.is_success() {
            let kind = if status.as_u16() == 400 { Kind::Denied } else { Kind::of(status) };
            let mut fault = self.fault(method, bare(url), Some(status), body_message(&body), kind);
            fault.retry_after = retry_after;
            return Err(fault);
        }
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |key: &str| json[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        let Some(value) = text("token").or_else(|| text("access_token")) else {
            return Err(failed("the answer holds no token".to_owned(), Kind::Permanent));
        };
        // 60 s unless the server says otherwise (distribution's token specification); renewed a little early.
        let seconds = json["expires_in"].as_u64().unwrap_or(60).max(1);
        let good_until = Instant::now() + Duration::from_secs(seconds.min(86_400) * 9 / 10).max(Duration::from_millis(500));
        Ok(Token { value, scopes: self.scopes.to_vec(), owner: self.owner.to_owned(), good_until })
    }

    fn fault(&self, method: Method, url: String, status: Option<reqwest::StatusCode>, detail: String, kind: Kind) -> Fault {
        let act = format!("get token for {}", self.registry.host_str().unwrap_or_default());
        let request = format!("{method} {url}");
        Fault { act, request, status, detail, attempts: 1, credentials: self.found.source.clone(), kind, retry_after: None }
    }
}

fn bare(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// A registry must not send us, and our credentials, just anywhere: https only unless the registry itself is spoken to in
/// plain http, and to no private address but its own host.
fn realm_url(realm: &str, registry: &Url) -> Result<Url, String> {
    let url: Url = realm.parse().map_err(|_| format!("token server {realm:?} is not a URL"))?;
    match url.scheme() {
        "https" => {}
        "http" if registry.scheme() == "http" => {}
        scheme => return Err(format!("token server {realm:?} is reached by {scheme}, which is refused for a registry on https")),
    }
    let host = url.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    if registry.host_str() != Some(host) && address.is_some_and(is_internal) {
        return Err(format!("token server {realm:?} has a private address, which is not the registry's"));
    }
    Ok(url)
}

fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(value: &str, scopes: &[Scope], seconds: u64) -> Token {
        let good_until = Instant::now() + Duration::from_secs(seconds);
        Token { value: value.to_owned(), scopes: scopes.to_vec(), owner: "me".to_owned(), good_until }
    }

    #[test]
    fn tokens_are_found_by_what_they_allow() {
        let mut tokens = Tokens::default();
        tokens.put(token("old", &[Scope::push("a")], 0));
        tokens.put(token("push", &[Scope::push("a")], 60));
        tokens.put(token("both", &[Scope::push("a"), Scope::pull("b")], 60));
        let value = |scopes: &[Scope]| tokens.get(scopes, "me").map(|t| t.value.as_str());
        assert_eq!(value(&[Scope::pull("a")]), Some("push"));
        assert_eq!(value(&[Scope::push("a"), Scope::pull("b")]), Some("both"));
        assert_eq!(value(&[Scope::push("b")]), None);
        assert_eq!(tokens.get(&[Scope::pull("a")], "other").map(|t| t.value.as_str()), None);
        tokens.forget("push");
        assert_eq!(tokens.get(&[Scope::pull("a")], "me").map(|t| t.value.as_str()), Some("both"));
    }

    #[test]
    fn token_servers_that_are_refused() {
        let https: Url = "https://r.io/v2/".parse().unwrap();
        let http: Url = "http://10.0.0.1:5000/v2/".parse().unwrap();
        assert!(realm_url("https://auth.io/token", &https).is_ok());
        assert!(realm_url("http://auth.io/token", &https).is_err());
        assert!(realm_url("http://auth.io/token", &http).is_ok());
        assert!(realm_url("http://10.0.0.1:5001/token", &http).is_ok());
        assert!(realm_url("file:///etc/passwd", &http).is_err());
        for internal in ["169.254.169.254", "127.0.0.1", "10.0.0.2", "[fd00:ec2::254]", "[::1]"] {
            assert!(realm_url(&format!("http://{internal}/token"), &http).is_err(), "{internal}");
        }
    }

    #[test]
    fn scopes_of_the_challenge_are_added_only_if_they_are_news() {
        let scopes = [Scope::push("a/b")];
        assert!(covered("repository:a/b:pull", &scopes));
        assert!(covered("repository:a/b:pull,push", &scopes));
        assert!(!covered("repository:a/b:delete", &scopes));
        assert!(!covered("repository:a/bc:pull", &scopes));
    }
}
