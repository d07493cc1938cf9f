//! An app with layers of several kinds, the same at every run: many small files of text, one big file that is partly
//! compressed already, archives, and a mix.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

pub struct Workload {
    root: PathBuf,
}

/// xorshift: enough to be incompressible.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out: Vec<u8> = std::iter::repeat_with(|| self.next().to_le_bytes()).take(n / 8 + 1).flatten().collect();
        out.truncate(n);
        out
    }

    fn text(&mut self, n: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(n + 16);
        while out.len() < n {
            let word = self.below(4000) as u64;
            let _ = write!(out, "{:x}{}", word.wrapping_mul(0x9e37_79b9), if word.is_multiple_of(11) { ";\n" } else { " " });
        }
        out.truncate(n);
        out
    }

    /// Pieces of 64 KiB, `dense` percent of them incompressible.
    fn mixed(&mut self, n: usize, dense: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(n);
        while out.len() < n {
            let piece = (n - out.len()).min(64 << 10);
            let bytes = if self.below(100) < dense { self.bytes(piece) } else { self.text(piece) };
            out.extend_from_slice(&bytes);
        }
        out
    }
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
    fs::write(path, bytes).expect("file");
}

impl Workload {
    pub fn generate(root: &Path, scale: f64) -> Self {
        let work = Self { root: root.to_owned() };
        let count = |n: f64| (n * scale).ceil() as usize;
        let mut noise = Noise(42);
        let layers = work.layers();
        let mut group = String::new();
        let mut layer = |buildpack: &str, name: &str, launch: bool, cache: bool| {
            let toml = format!("[types]\nlaunch = {launch}\ncache = {cache}\n[metadata]\nk = \"v\"\n");
            put(&layers.join(buildpack).join(format!("{name}.toml")), toml.as_bytes());
            if !group.contains(&format!("\"{buildpack}\"")) {
                group += &format!("[[group]]\nid = \"{buildpack}\"\nversion = \"1.0\"\napi = \"0.10\"\n");
            }
            layers.join(buildpack).join(name)
        };
        let modules = layer("node", "modules", true, true);
        for i in 0..count(40_000.0) {
            let size = 300 + noise.below(900) * (1 + noise.below(20)) * (1 + noise.below(2)) / 2;
            put(&modules.join(format!("pkg-{}/lib/f{i}.js", i / 40)), &noise.text(size));
        }
        let jre = layer("jvm", "jre", true, false);
        put(&jre.join("lib/modules"), &noise.mixed(count(300e6), 35));
        let jars = layer("jvm", "jars", true, true);
        for i in 0..count(60.0) {
            put(&jars.join(format!("{i}.jar")), &noise.mixed(1_000_000, 95));
        }
        for n in 0..8 {
            let misc = layer(&format!("misc{n}"), "files", n % 4 != 3, n % 2 == 0);
            for i in 0..count(300.0) {
                put(&misc.join(format!("d{}/{i}.bin", i % 20)), &noise.mixed([20_000, 80_000, 250_000][i % 3], 40));
            }
        }
        for i in 0..count(3000.0) {
            let size = 200 + noise.below(11_000);
            put(&work.app().join(format!("src/m{}/s{i}.py", i % 50)), &noise.text(size));
        }
        put(&work.app().join("main.py"), b"print(1)\n");
        put(&work.launcher(), &noise.bytes(700_000));
        put(&layers.join("group.toml"), group.as_bytes());
        put(&layers.join("config/metadata.toml"), b"");
        work
    }

    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub fn app(&self) -> PathBuf {
        self.root.join("app")
    }

    pub fn launcher(&self) -> PathBuf {
        self.root.join("launcher")
    }

    pub fn change_app(&self) {
        append(&self.app().join("main.py"));
    }

    pub fn change_layer(&self) {
        append(&self.layers().join("node/modules/pkg-0/lib/f0.js"));
    }
}

fn append(path: &Path) {
    fs::OpenOptions::new().append(true).open(path).and_then(|mut f| f.write_all(b"# changed\n")).expect("change");
}
