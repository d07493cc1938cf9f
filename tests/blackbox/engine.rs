//! A small Docker Engine: keeps images in memory, speaks what the lifecycle asks for, counts bytes, and closes every
//! connection after one answer, as engines do with idle ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::sha256;

/// How layers are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Known chains need not be sent again.
    GraphDriver,
    /// Every layer must have its content, as with podman.
    RefusesBlanks,
    /// The image store of containerd: tells so, keeps blobs, saves them compressed.
    Containerd,
}

#[derive(Clone)]
pub struct Image {
    pub config: Vec<u8>,
    /// Plain tars, bottom first.
    pub layers: Vec<Arc<Vec<u8>>>,
}

#[derive(Default)]
struct State {
    /// By ID without `sha256:`.
    images: BTreeMap<String, Image>,
    /// Name with tag to ID.
    tags: BTreeMap<String, String>,
}

pub struct Engine {
    state: Mutex<State>,
    kind: Kind,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    pub connections: AtomicU64,
}

impl Engine {
    /// Listens on a socket that only root may open.
    pub fn start(socket: &Path, kind: Kind) -> Arc<Self> {
        let listener = UnixListener::bind(socket).expect("listen");
        fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).expect("chmod");
        let counters = || AtomicU64::new(0);
        let engine =
            Arc::new(Self { state: Mutex::default(), kind, received: counters(), sent: counters(), connections: counters() });
        let serving = Arc::clone(&engine);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let engine = Arc::clone(&serving);
                std::thread::spawn(move || engine.serve(stream));
            }
        });
        engine
    }

    pub fn add(&self, name: &str, image: Image) -> String {
        // containerd calls an image by its manifest, which nobody but the engine knows.
        let id = match self.kind {
            Kind::Containerd => sha256(&[b"manifest of ", image.config.as_slice()].concat()),
            _ => sha256(&image.config),
        };
        let mut state = self.state.lock().expect("state");
        state.tags.insert(name.to_owned(), id.clone());
        state.images.insert(id.clone(), image);
        id
    }

    pub fn image(&self, name: &str) -> Option<(String, Image)> {
        let state = self.state.lock().expect("state");
        let id = find(&state, name)?;
        Some((id.clone(), state.images[&id].clone()))
    }

    pub fn remove(&self, name: &str) {
        let mut state = self.state.lock().expect("state");
        if let Some(id) = state.tags.remove(name) {
            state.images.remove(&id);
        }
    }

    /// Bytes that went over the socket since the last call.
    pub fn traffic(&self) -> u64 {
        self.received.swap(0, Ordering::SeqCst) + self.sent.swap(0, Ordering::SeqCst)
    }

    fn serve(&self, stream: UnixStream) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let mut reader = BufReader::new(Counting { stream: stream.try_clone().expect("clone"), count: &self.received });
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let mut chunked = false;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).expect("header");
            chunked |= header.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
            if header.trim().is_empty() {
                break;
            }
        }
        let body = if chunked { read_chunks(&mut reader) } else { Vec::new() };
        let (status, answer) = self.answer(&method, &target, body);
        let head =
            format!("HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        let mut stream = stream;
        // The client may hang up when it has what it wants.
        let _ = stream.write_all(head.as_bytes());
        for chunk in answer.chunks(64 << 10) {
            if stream.write_all(chunk).is_err() {
                return;
            }
            self.sent.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        }
    }

    fn answer(&self, method: &str, target: &str, body: Vec<u8>) -> (&'static str, Vec<u8>) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_prefix("/v1.41").unwrap_or(path);
        let missing = || ("404 Not Found", json!({"message": "No such image"}).to_string().into_bytes());
        let image = |suffix: &str| {
            let name = path.strip_prefix("/images/").and_then(|p| p.strip_suffix(suffix))?;
            self.image(name)
        };
        match (method, path) {
            ("GET", "/_ping") => ("200 OK", b"OK".to_vec()),
            ("GET", "/info") => {
                let status = if self.kind == Kind::Containerd {
                    json!([["driver-type", "io.containerd.snapshotter.v1"]])
                } else {
                    json!([])
                };
                ("200 OK", json!({"DriverStatus": status}).to_string().into_bytes())
            }
            ("POST", "/images/load") => match self.load(body) {
                Ok(()) => ("200 OK", json!({"stream": "Loaded"}).to_string().into_bytes()),
                Err(error) => ("200 OK", json!({"errorDetail": {"message": error}, "error": error}).to_string().into_bytes()),
            },
            ("POST", path) if path.ends_with("/tag") => {
                let Some((id, _)) = image("/tag") else { return missing() };
                let value = |key: &str| query.split('&').find_map(|p| p.strip_prefix(key)).unwrap_or_default();
                let name = format!("{}:{}", value("repo="), value("tag="));
                self.state.lock().expect("state").tags.insert(name, id);
                ("201 Created", Vec::new())
            }
            ("GET", path) if path.ends_with("/json") => {
                let Some((id, image)) = image("/json") else { return missing() };
                let config: Value = serde_json::from_slice(&image.config).expect("config");
                let inspect = json!({
                    "Id": format!("sha256:{id}"), "Os": config["os"], "Architecture": config["architecture"],
                    "Created": config["created"], "Config": config["config"],
                    "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]},
                });
                ("200 OK", inspect.to_string().into_bytes())
            }
            ("GET", path) if path.ends_with("/history") => {
                let Some((_, image)) = image("/history") else { return missing() };
                let config: Value = serde_json::from_slice(&image.config).expect("config");
                let entries = config["history"].as_array().map_or(&[][..], Vec::as_slice).iter().rev();
                let entries: Vec<Value> =
                    entries.map(|e| json!({"Created": 315_532_801, "CreatedBy": e["created_by"]})).collect();
                ("200 OK", Value::from(entries).to_string().into_bytes())
            }
            ("GET", path) if path.ends_with("/get") => match image("/get") {
                Some((id, image)) => ("200 OK", self.save(&id, &image)),
                None => missing(),
            },
            _ => ("404 Not Found", b"{}".to_vec()),
        }
    }

    fn load(&self, archive: Vec<u8>) -> Result<(), String> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(Cursor::new(archive)).entries().expect("tar") {
            let mut entry = entry.map_err(|e| e.to_string())?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(|e| e.to_string())?;
            files.insert(entry.path().expect("name").to_string_lossy().into_owned(), content);
        }
        let manifest = files.get("manifest.json").ok_or("no manifest.json")?;
        let manifest: Value = serde_json::from_slice(manifest).map_err(|e| e.to_string())?;
        let config = files[manifest[0]["Config"].as_str().expect("config name")].clone();
        let json: Value = serde_json::from_slice(&config).map_err(|e| e.to_string())?;
        let diff_ids: Vec<&str> = json["rootfs"]["diff_ids"].as_array().expect("list").iter().filter_map(Value::as_str).collect();
        let names: Vec<&str> = manifest[0]["Layers"].as_array().expect("list").iter().filter_map(Value::as_str).collect();
        if names.len() != diff_ids.len() {
            return Err("invalid manifest, layers length mismatch".into());
        }
        let mut layers = Vec::new();
        for (index, (name, diff_id)) in names.iter().zip(&diff_ids).enumerate() {
            let content = files.get(*name).ok_or_else(|| format!("no {name}"))?;
            let layer = match self.known(&diff_ids[..=index]) {
                Some(layer) if self.kind == Kind::GraphDriver => layer,
                _ if format!("sha256:{}", sha256(content)) == *diff_id => Arc::new(content.clone()),
                _ => return Err(format!("layer {diff_id} has other content")),
            };
            layers.push(layer);
        }
        let name = manifest[0]["RepoTags"][0].as_str().expect("tag").to_owned();
        self.add(&name, Image { config, layers });
        Ok(())
    }

    /// The topmost layer of a chain that an image has.
    fn known(&self, chain: &[&str]) -> Option<Arc<Vec<u8>>> {
        let state = self.state.lock().expect("state");
        state.images.values().find_map(|image| {
            let have: Vec<String> = image.layers.iter().map(|l| format!("sha256:{}", sha256(l))).collect();
            let same = have.len() >= chain.len() && have.iter().zip(chain).all(|(a, b)| a == b);
            same.then(|| Arc::clone(&image.layers[chain.len() - 1]))
        })
    }

    /// `docker save`, in the form of docker before 25 or that of containerd.
    fn save(&self, id: &str, image: &Image) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content).expect("tar");
        };
        add(&format!("{id}.json"), &image.config);
        for (index, layer) in image.layers.iter().enumerate().rev() {
            if self.kind == Kind::Containerd {
                let blob = crate::support::gzip(layer);
                add(&format!("blobs/sha256/{}", sha256(&blob)), &blob);
            } else {
                add(&format!("{index:064x}/layer.tar"), layer);
            }
        }
        add("manifest.json", b"[]");
        builder.into_inner().expect("tar")
    }
}

fn find(state: &State, name: &str) -> Option<String> {
    let id = name.strip_prefix("sha256:").unwrap_or(name);
    if state.images.contains_key(id) {
        return Some(id.to_owned());
    }
    let tagged =
        if name.rsplit('/').next().is_some_and(|n| n.contains(':')) { name.to_owned() } else { format!("{name}:latest") };
    state.tags.get(&tagged).cloned()
}

fn read_chunks(reader: &mut impl BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).expect("chunk");
        let size = usize::from_str_radix(size.trim(), 16).expect("chunk size");
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..]).expect("chunk");
        reader.read_line(&mut String::new()).expect("chunk end");
        if size == 0 {
            return body;
        }
    }
}

struct Counting<'a> {
    stream: UnixStream,
    count: &'a AtomicU64,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.stream.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::SeqCst);
        Ok(n)
    }
}
