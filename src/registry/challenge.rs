//! `WWW-Authenticate` (RFC 9110 §11.6.1).

use std::collections::BTreeMap;

/// How a registry wants to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Nothing was asked for so far.
    #[default]
    None,
    Basic,
    Bearer {
        realm: String,
        service: String,
        /// What the registry itself says is needed; empty in most answers to a ping.
        scope: String,
    },
}

impl Challenge {
    /// The first challenge of the header lines that this program can meet; bearer before basic.
    pub(super) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let all: Vec<(String, BTreeMap<String, String>)> = lines.into_iter().flat_map(challenges).collect();
        let find = |scheme: &str| all.iter().find(|(name, _)| name == scheme);
        if let Some((_, parameters)) = find("bearer")
            && let Some(realm) = parameters.get("realm")
        {
            let get = |key: &str| parameters.get(key).cloned().unwrap_or_default();
            return Self::Bearer { realm: realm.clone(), service: get("service"), scope: get("scope") };
        }
        if find("basic").is_some() { Self::Basic } else { Self::None }
    }
}

fn challenges(line: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start();
        if let Some(value) = after.strip_prefix('=') {
            let (value, tail) = parameter_value(value.trim_start());
            if let Some((_, parameters)) = found.last_mut() {
                parameters.insert(word.to_ascii_lowercase(), value);
            }
            rest = tail;
        } else {
            if !word.is_empty() {
                found.push((word.to_ascii_lowercase(), BTreeMap::new()));
            }
            rest = after;
        }
    }
    found
}

/// A token or a quoted string with `\` escapes, and what follows.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_as_registries_write_them() {
        let bearer = |scope: &str| Challenge::Bearer {
            realm: "https://auth.x/token".to_owned(),
            service: "reg, \"x\"".to_owned(),
            scope: scope.to_owned(),
        };
        let line = r#"Bearer realm="https://auth.x/token",service="reg, \"x\"",scope="repository:a/b:pull,push""#;
        assert_eq!(Challenge::parse([line]), bearer("repository:a/b:pull,push"));
        assert_eq!(
            Challenge::parse([r#"Basic realm="x", bearer realm = "https://auth.x/token" , service="reg, \"x\"""#]),
            bearer("")
        );
        assert_eq!(Challenge::parse(["Negotiate", "BASIC"]), Challenge::Basic);
        assert_eq!(Challenge::parse(["Bearer"]), Challenge::None);
        assert_eq!(Challenge::parse([""]), Challenge::None);
        assert_eq!(Challenge::parse([r#"Basic realm="cut"#]), Challenge::Basic);
    }
}
