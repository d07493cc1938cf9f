//! A small Docker Engine: keeps images in memory, speaks what the lifecycle asks for, counts bytes, and closes every
//! connection after one answer, as engines do with idle ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::containerd::Containerd;
use crate::support::sha256;

/// How layers are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Known chains need not be sent again.
    GraphDriver,
    /// Every layer must have its content, as with podman.
    RefusesBlanks,
    /// The image store of containerd, see [`Containerd`].
    Containerd,
    /// The same before API 1.48: it does not tell whether an image is whole.
    OldContainerd,
}

#[derive(Clone)]
pub struct Image {
    pub config: Vec<u8>,
    /// Plain tars, bottom first.
    pub layers: Vec<Arc<Vec<u8>>>,
}

#[derive(Default)]
struct State {
    /// By ID without `sha256:`. With containerd they are in its store.
    images: BTreeMap<String, Image>,
    /// Name with tag to ID.
    tags: BTreeMap<String, String>,
}

pub struct Engine {
    state: Mutex<State>,
    kind: Kind,
    pub containerd: Mutex<Containerd>,
    /// What `POST /images/load` says instead of loading: status and message. An answer of 200 tells it in its body.
    pub refusal: Mutex<Option<(&'static str, &'static str)>>,
    /// Bodies of `POST /images/load`.
    pub loaded: Mutex<Vec<Vec<u8>>>,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    pub connections: AtomicU64,
}

impl Engine {
    /// Listens on a socket that only root may open.
    pub fn start(socket: &Path, kind: Kind) -> Arc<Self> {
        let counters = || AtomicU64::new(0);
        let engine = Arc::new(Self {
            state: Mutex::default(),
            kind,
            containerd: Mutex::default(),
            refusal: Mutex::default(),
            loaded: Mutex::default(),
            received: counters(),
            sent: counters(),
            connections: counters(),
        });
        engine.listen(socket);
        engine
    }

    /// Listens on a socket of this name, also if there was one: what a restarted engine does.
    pub fn listen(self: &Arc<Self>, socket: &Path) {
        let _ = fs::remove_file(socket);
        let listener = UnixListener::bind(socket).expect("listen");
        fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).expect("chmod");
        let serving = Arc::clone(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let engine = Arc::clone(&serving);
                std::thread::spawn(move || engine.serve(stream));
            }
        });
    }

    /// As if it had been pulled.
    pub fn add(&self, name: &str, image: Image) -> String {
        let id = if self.has_containerd() { self.store().pull(&image) } else { sha256(&image.config) };
        let mut state = self.state.lock().expect("state");
        state.tags.insert(name.to_owned(), id.clone());
        if !self.has_containerd() {
            state.images.insert(id.clone(), image);
        }
        id
    }

    /// `None`, too, if it is not whole.
    pub fn image(&self, name: &str) -> Option<(String, Image)> {
        let id = self.find(name)?;
        let image = if self.has_containerd() {
            self.store().image(&id)
        } else {
            self.state.lock().expect("state").images.get(&id).cloned()
        };
        image.map(|image| (id, image))
    }

    pub fn remove(&self, name: &str) {
        let mut state = self.state.lock().expect("state");
        if let Some(id) = state.tags.remove(name) {
            state.images.remove(&id);
            self.store().remove(&id);
        }
    }

    fn has_containerd(&self) -> bool {
        matches!(self.kind, Kind::Containerd | Kind::OldContainerd)
    }

    fn api_version(&self) -> &'static str {
        if self.kind == Kind::Containerd { "1.48" } else { "1.41" }
    }

    pub fn store(&self) -> MutexGuard<'_, Containerd> {
        self.containerd.lock().expect("store")
    }

    /// The ID of an image by its name or ID.
    fn find(&self, name: &str) -> Option<String> {
        let state = self.state.lock().expect("state");
        let id = name.strip_prefix("sha256:").unwrap_or(name);
        if state.images.contains_key(id) || self.store().has_image(id) {
            return Some(id.to_owned());
        }
        let tagged =
            if name.rsplit('/').next().is_some_and(|n| n.contains(':')) { name.to_owned() } else { format!("{name}:latest") };
        state.tags.get(&tagged).cloned()
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
        let head = format!(
            "HTTP/1.1 {status}\r\nApi-Version: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.api_version(),
            answer.len()
        );
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
        let path = path.strip_prefix(&format!("/v{}", self.api_version())).unwrap_or(path);
        let missing = || ("404 Not Found", json!({"message": "No such image"}).to_string().into_bytes());
        let named = |suffix: &str| {
            let name = path.strip_prefix("/images/").and_then(|p| p.strip_suffix(suffix))?;
            self.find(name)
        };
        match (method, path) {
            ("GET", "/_ping") => ("200 OK", b"OK".to_vec()),
            ("GET", "/info") => {
                let status =
                    if self.has_containerd() { json!([["driver-type", "io.containerd.snapshotter.v1"]]) } else { json!([]) };
                ("200 OK", json!({"DriverStatus": status}).to_string().into_bytes())
            }
            ("POST", "/images/load") => {
                self.loaded.lock().expect("bodies").push(body.clone());
                let refusal = *self.refusal.lock().expect("refusal");
                let error = |m: &str| json!({"errorDetail": {"message": m}, "error": m, "message": m}).to_string().into_bytes();
                match refusal.map_or_else(|| Ok(self.load(body)), Err) {
                    Err((status, message)) => (status, error(message)),
                    Ok(Err(message)) => ("200 OK", error(&message)),
                    Ok(Ok(message)) => ("200 OK", json!({"stream": message}).to_string().into_bytes()),
                }
            }
            ("POST", path) if path.ends_with("/tag") => {
                let Some(id) = named("/tag") else { return missing() };
                let value = |key: &str| query.split('&').find_map(|p| p.strip_prefix(key)).unwrap_or_default();
                let name = format!("{}:{}", value("repo="), value("tag="));
                self.state.lock().expect("state").tags.insert(name, id);
                ("201 Created", Vec::new())
            }
            ("GET", path) if path.ends_with("/json") => {
                let Some(id) = named("/json") else { return missing() };
                let config = self.config(&id);
                let tags = self.state.lock().expect("state");
                let tags: Vec<&String> = tags.tags.iter().filter(|(_, i)| **i == id).map(|(name, _)| name).collect();
                let mut inspect = json!({
                    "Id": format!("sha256:{id}"), "RepoTags": tags, "Os": config["os"], "Architecture": config["architecture"],
                    "Created": config["created"], "Config": config["config"],
                    "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]},
                });
                if self.kind == Kind::Containerd {
                    inspect["Descriptor"] = json!({"digest": format!("sha256:{id}"), "size": self.store().size(&id)});
                }
                if self.kind == Kind::Containerd && query.contains("manifests=1") {
                    let available = self.store().image(&id).is_some();
                    inspect["Manifests"] = json!([{"ID": format!("sha256:{id}"), "Available": available, "Kind": "image"}]);
                }
                ("200 OK", inspect.to_string().into_bytes())
            }
            ("GET", path) if path.ends_with("/history") => {
                let Some(id) = named("/history") else { return missing() };
                let config = self.config(&id);
                let entries = config["history"].as_array().map_or(&[][..], Vec::as_slice).iter().rev();
                let entries: Vec<Value> =
                    entries.map(|e| json!({"Created": 315_532_801, "CreatedBy": e["created_by"]})).collect();
                ("200 OK", Value::from(entries).to_string().into_bytes())
            }
            // Bare digits are no name to an engine with containerd.
            ("GET", path) if path.ends_with("/get") && self.has_containerd() && !path.contains("sha256:") => {
                ("400 Bad Request", json!({"message": "invalid repository name"}).to_string().into_bytes())
            }
            ("GET", path) if path.ends_with("/get") => {
                let Some(id) = named("/get") else { return missing() };
                ("200 OK", if self.has_containerd() { self.store().save(&id) } else { self.save(&id) })
            }
            ("DELETE", _) => {
                let Some(id) = named("") else { return missing() };
                self.store().remove(&id);
                ("200 OK", b"[]".to_vec())
            }
            _ => ("404 Not Found", b"{}".to_vec()),
        }
    }

    fn config(&self, id: &str) -> Value {
        let config = if self.has_containerd() {
            self.store().config(id)
        } else {
            self.state.lock().expect("state").images[id].config.clone()
        };
        serde_json::from_slice(&config).expect("config")
    }

    /// What the engine says of it.
    fn load(&self, archive: Vec<u8>) -> Result<String, String> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(Cursor::new(archive)).entries().expect("tar") {
            let mut entry = entry.map_err(|e| e.to_string())?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(|e| e.to_string())?;
            files.insert(entry.path().expect("name").to_string_lossy().into_owned(), content);
        }
        if self.has_containerd() {
            return self.store().load(files);
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
        Ok("Loaded".to_owned())
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

    /// `docker save`, in the form of docker before 25.
    fn save(&self, id: &str) -> Vec<u8> {
        let image = self.state.lock().expect("state").images[id].clone();
        let layers = image.layers.iter().enumerate().rev();
        let mut files = vec![(format!("{id}.json"), image.config.clone())];
        files.extend(layers.map(|(index, layer)| (format!("{index:064x}/layer.tar"), layer.to_vec())));
        files.push(("manifest.json".to_owned(), b"[]".to_vec()));
        crate::support::tar_of(files)
    }
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
