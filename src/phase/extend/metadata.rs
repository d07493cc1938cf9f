//! Instructions that change nothing but the image's config.

use serde_json::{Value, json};

use super::working_image::WorkingImage;
use crate::dockerfile::{Command, Flags, Instruction, Kind};
use crate::error::{Error, Result};

type Expand<'a> = &'a dyn Fn(&str) -> Result<String>;

/// `SHELL`, or what stands for it.
pub fn shell(image: &WorkingImage) -> Vec<String> {
    let words = image.config.json["config"]["Shell"].as_array().into_iter().flatten();
    let words: Vec<String> = words.filter_map(|w| w.as_str().map(str::to_owned)).collect();
    if words.is_empty() { ["/bin/sh", "-c"].map(str::to_owned).to_vec() } else { words }
}

/// Instructions that the base image asks to run first; the config no longer has them afterwards.
pub fn take_triggers(image: &mut WorkingImage) -> Result<Vec<Instruction>> {
    let triggers: Vec<String> = image.config.json["config"]["OnBuild"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|t| Some(t.as_str()?.to_owned()))
        .collect();
    if !triggers.is_empty() {
        image.set("OnBuild", Value::Null);
    }
    triggers.iter().map(|text| Instruction::trigger(text)).collect()
}

/// `CMD`, `ENTRYPOINT`, `EXPOSE`, `VOLUME`, `STOPSIGNAL`, `HEALTHCHECK`, `ONBUILD`.
pub fn apply(image: &mut WorkingImage, kind: &Kind, cmd_set: &mut bool, expand: Expand<'_>) -> Result<()> {
    match kind {
        Kind::Cmd(command) => {
            image.set("Cmd", words(command, image).into());
            *cmd_set = true;
        }
        Kind::Entrypoint(command) => {
            image.set("Entrypoint", words(command, image).into());
            // The command of the base belongs to the entry point of the base.
            if !*cmd_set {
                image.set("Cmd", Value::Null);
            }
        }
        Kind::Expose(ports) => {
            for port in ports {
                for port in expand(port)?.split_whitespace() {
                    add_all(image, "ExposedPorts", ports_of(port)?);
                }
            }
        }
        Kind::Volume(paths) => {
            for path in paths {
                let path = expand(path)?;
                add_all(image, "Volumes", [path]);
            }
        }
        Kind::StopSignal(signal) => image.set("StopSignal", expand(signal)?.into()),
        Kind::Healthcheck(flags, command) => {
            let check = healthcheck(flags, command.as_ref())?;
            image.set("Healthcheck", check);
        }
        Kind::OnBuild(trigger) => {
            let mut triggers = image.config.json["config"]["OnBuild"].as_array().cloned().unwrap_or_default();
            triggers.push(json!(trigger));
            image.set("OnBuild", triggers.into());
        }
        _ => {}
    }
    Ok(())
}

fn words(command: &Command, image: &WorkingImage) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(line) => shell(image).into_iter().chain([line.clone()]).collect(),
    }
}

/// Keys of an object whose values are empty objects.
fn add_all(image: &mut WorkingImage, field: &str, keys: impl IntoIterator<Item = String>) {
    let mut set = image.config.json["config"][field].as_object().cloned().unwrap_or_default();
    set.extend(keys.into_iter().map(|key| (key, json!({}))));
    set.sort_keys();
    image.set(field, set.into());
}

/// `80`, `80/udp`, `8000-8002/tcp`.
fn ports_of(text: &str) -> Result<Vec<String>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().map_err(|_| Error::new(format!("invalid containerPort: {ports}")));
    Ok((number(first)?..=number(last)?).map(|port| format!("{port}/{protocol}")).collect())
}

fn healthcheck(flags: &Flags, command: Option<&Command>) -> Result<Value> {
    let test = match command {
        None => vec!["NONE".to_owned()],
        Some(Command::Shell(line)) => vec!["CMD-SHELL".to_owned(), line.clone()],
        Some(Command::Exec(words)) => ["CMD".to_owned()].into_iter().chain(words.iter().cloned()).collect(),
    };
    let mut check = json!({ "Test": test });
    for (name, value) in flags {
        let field = match name.as_str() {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            _ => "Retries",
        };
        let number = if field == "Retries" { value.parse().ok() } else { nanoseconds(value) };
        check[field] = json!(number.ok_or_else(|| Error::new(format!("invalid value {value:?} for HEALTHCHECK --{name}")))?);
    }
    Ok(check)
}

/// `1h2m3.5s`, `100ms`.
fn nanoseconds(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    (!text.is_empty()).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!(ports_of("80").unwrap(), ["80/tcp"]);
        assert_eq!(ports_of("81-83/udp").unwrap(), ["81/udp", "82/udp", "83/udp"]);
        assert!(ports_of("http").is_err());
    }

    #[test]
    fn health_checks() {
        let flags = vec![("interval".to_owned(), "1m0.5s".to_owned()), ("retries".to_owned(), "3".to_owned())];
        let command = Command::Shell("true".to_owned());
        let want = json!({"Test": ["CMD-SHELL", "true"], "Interval": 60_500_000_000i64, "Retries": 3});
        assert_eq!(healthcheck(&flags, Some(&command)).unwrap(), want);
        assert_eq!(healthcheck(&Vec::new(), None).unwrap(), json!({"Test": ["NONE"]}));
        assert!(healthcheck(&vec![("timeout".to_owned(), "5".to_owned())], None).is_err());
    }
}
