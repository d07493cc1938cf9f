//! Credentials and tokens on requests.

use std::sync::Arc;

use reqwest::header::HeaderValue;
use reqwest::{Response, StatusCode, Url};

use super::answer::{challenge_of, says_invalid};
use super::challenge::Challenge;
use super::clients::same_origin;
use super::endpoint::Endpoint;
use super::fault::{Fault, Kind};
use super::keychain::{Credentials, Found, Keychain};
use super::request::Request;
use super::token::{self, Ask, Token};
use super::transport::{SILENCE, Transport, host_and_port, lock};

/// Credentials put on a request.
#[derive(Debug)]
pub(super) struct Authorized {
    pub header: Option<HeaderValue>,
    pub source: String,
    /// The token in the header, and whether it was there before this request.
    token: Option<(String, bool)>,
}

impl Transport {
    /// Whether another attempt with other credentials makes sense: the token was from before or is called invalid, the answer
    /// asks for something that was not known, or a helper has other credentials by now.
    pub(super) async fn renew(&self, request: &Request, endpoint: &Endpoint, used: &Authorized, response: &Response) -> bool {
        let mut news = false;
        if let Some((token, from_before)) = &used.token {
            endpoint.tokens.lock().await.forget(token);
            news = *from_before || says_invalid(response);
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = challenge_of(response);
            let mut known = lock(&endpoint.challenge);
            if challenge != Challenge::None && *known != challenge {
                let widens = matches!((&*known, &challenge), (Challenge::None, _) | (Challenge::Basic, Challenge::Bearer { .. }))
                    || used.header.is_none();
                *known = challenge;
                news |= widens;
            }
        }
        if !news && used.header.is_some() {
            news = self.ask_keychain(request, Keychain::refresh).await;
        }
        news
    }

    pub(super) async fn authorize(&self, request: &Request, endpoint: &Endpoint, url: &Url) -> Result<Authorized, Fault> {
        // What a registry redirects uploads to is not the registry.
        if !same_origin(url, &endpoint.base) {
            return Ok(Authorized { header: None, source: String::new(), token: None });
        }
        let found = self.credentials(request).await;
        let challenge = lock(&endpoint.challenge).clone();
        let value = match (&found.credentials, &challenge) {
            (Credentials::Bearer(token), Challenge::None | Challenge::Basic | Challenge::Bearer { .. }) => {
                format!("Bearer {token}")
            }
            (Credentials::Header(header), _) => header.clone(),
            (Credentials::Basic { user, password }, Challenge::Basic) => {
                use base64::Engine as _;
                format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}")))
            }
            (_, Challenge::Bearer { .. }) => return self.with_token(request, endpoint, &challenge, found).await,
            _ => return Ok(Authorized { header: None, source: found.source, token: None }),
        };
        Ok(Authorized { header: secret(&value), source: found.source, token: None })
    }

    /// Running a helper takes its time; transfers go on meanwhile.
    async fn credentials(&self, request: &Request) -> Found {
        if self.keychain.knows(&request.place.host, request.repository()) {
            return self.keychain.resolve(&request.place.host, request.repository());
        }
        self.ask_keychain(request, Keychain::resolve).await
    }

    async fn ask_keychain<T: Send + 'static>(&self, request: &Request, ask: fn(&Keychain, &str, &str) -> T) -> T {
        let (keychain, registry, repository) =
            (Arc::clone(&self.keychain), request.place.host.clone(), request.repository().to_owned());
        let asked = tokio::task::spawn_blocking({
            let (keychain, registry, repository) = (Arc::clone(&keychain), registry.clone(), repository.clone());
            move || ask(&keychain, &registry, &repository)
        });
        match asked.await {
            Ok(answer) => answer,
            // No thread to be had: ask here.
            Err(_) => ask(&keychain, &registry, &repository),
        }
    }

    async fn with_token(
        &self,
        request: &Request,
        endpoint: &Endpoint,
        challenge: &Challenge,
        found: Found,
    ) -> Result<Authorized, Fault> {
        // Held while a token is fetched: whoever needs the same one waits for it.
        let mut tokens = endpoint.tokens.lock().await;
        if let Some(token) = tokens.get(&request.scopes, &owner(&found)) {
            let header = secret(&format!("Bearer {}", token.value));
            return Ok(Authorized { header, source: found.source, token: Some((token.value.clone(), true)) });
        }
        let (token, found) = match self.new_token(request, endpoint, challenge, &found).await {
            Ok(token) => (token, found),
            // What a helper said before may be out of date.
            Err(fault) if fault.kind == Kind::Denied && self.ask_keychain(request, Keychain::refresh).await => {
                let found = self.credentials(request).await;
                (self.new_token(request, endpoint, challenge, &found).await?, found)
            }
            Err(fault) => return Err(fault),
        };
        let header = secret(&format!("Bearer {}", token.value));
        let value = token.value.clone();
        tokens.put(token);
        Ok(Authorized { header, source: found.source, token: Some((value, false)) })
    }

    async fn new_token(
        &self,
        request: &Request,
        endpoint: &Endpoint,
        challenge: &Challenge,
        found: &Found,
    ) -> Result<Token, Fault> {
        let host = match challenge {
            Challenge::Bearer { realm, .. } => realm.parse::<Url>().map(|url| host_and_port(&url)).unwrap_or_default(),
            _ => String::new(),
        };
        let client = self.client(request, endpoint.way, &host)?;
        let ask = Ask {
            client,
            registry: &endpoint.base,
            challenge,
            scopes: &request.scopes,
            found,
            owner: &owner(found),
            timeout: SILENCE.min(self.options.patience),
        };
        token::fetch(&ask).await.map_err(|fault| Fault { act: format!("{}: {}", request.act, fault.act), ..fault })
    }
}

/// A header that is left out of debug output.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Tells owners of tokens apart without keeping secrets.
fn owner(found: &Found) -> String {
    use sha2::Digest as _;
    let secret = match &found.credentials {
        Credentials::Anonymous => return "anonymous".to_owned(),
        Credentials::Basic { user, password } => format!("{user}:{password}"),
        Credentials::Bearer(text) | Credentials::Identity(text) | Credentials::Header(text) => text.clone(),
    };
    crate::image::Digest::from_sha256(&sha2::Sha256::digest(secret).into()).to_string()
}
