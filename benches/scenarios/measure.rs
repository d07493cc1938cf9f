//! What a process costs, and the registry that it talks to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifecycle::image::layout::LayoutStore;
use lifecycle::image::{ImageDraft, ImageStore, MediaFamily, Platform};
use lifecycle::layers::compression::Compression;
use lifecycle::layers::source::LayerSource;
use lifecycle::process::Invocation;
use lifecycle::registry::RegistryStore;

#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Of the process and its children, seconds.
    pub cpu: f64,
    pub wall: f64,
    pub peak_mib: u64,
    /// From and to disks, bytes.
    pub read: u64,
    pub written: u64,
    pub requests: usize,
}

impl Cost {
    /// The one with the median CPU time.
    pub fn median(costs: &[Self]) -> Self {
        let mut sorted = costs.to_vec();
        sorted.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// Runs a program in a clean environment and looks at it until it ends.
pub fn run(program: &Path, args: &[String], env: &[(&str, &str)], registry: &Registry) -> Cost {
    let requests = registry.requests();
    let start = Instant::now();
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/nonexistent");
    for (name, value) in [("CNB_PLATFORM_API", "0.14"), ("CNB_USER_ID", "0"), ("CNB_GROUP_ID", "0"), ("CNB_STACK_ID", "s")] {
        command.env(name, value);
    }
    command.envs(env.iter().copied());
    let log = registry.root.join("out.log");
    let out = fs::File::create(&log).expect("log");
    let mut child = command.stdout(out.try_clone().expect("log")).stderr(out).spawn().expect("start");
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let mut cost = Cost::default();
    // A process that has ended but was not waited for still tells its times and its counters.
    loop {
        let stat = fs::read_to_string(proc.join("stat")).expect("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let status = fs::read_to_string(proc.join("status")).unwrap_or_default();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        cost.peak_mib = cost.peak_mib.max(kib.unwrap_or(0) / 1024);
        if fields[0] == "Z" {
            let ticks: u64 = fields[11..15].iter().filter_map(|f| f.parse::<u64>().ok()).sum();
            cost.cpu = ticks as f64 / 100.0;
            let io = fs::read_to_string(proc.join("io")).unwrap_or_default();
            let counter = |name: &str| io.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0);
            (cost.read, cost.written) = (counter("read_bytes:"), counter("write_bytes:"));
            break;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    cost.wall = start.elapsed().as_secs_f64();
    let status = child.wait().expect("wait");
    assert!(status.success(), "{}: {status}: {}", program.display(), fs::read_to_string(&log).unwrap_or_default());
    cost.requests = registry.requests() - requests;
    cost
}

/// Debian's docker-registry on a port of its own.
pub struct Registry {
    pub address: String,
    pub run_image: String,
    root: PathBuf,
    process: Child,
}

impl Registry {
    /// With a small run image; `None` if it is not installed.
    pub fn start(root: &Path) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            root.join("registry").display()
        );
        fs::write(root.join("registry.yml"), config).ok()?;
        let log = fs::File::create(root.join("registry.log")).ok()?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(root.join("registry.yml")).stdout(log.try_clone().ok()?).stderr(Stdio::from(log));
        let process = command.spawn().ok()?;
        for _ in 0..200 {
            if std::net::TcpStream::connect(&address).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let run_image = format!("{address}/run");
        let registry = Self { address, run_image, root: root.to_owned(), process };
        registry.push_run_image("run", "bench");
        Some(registry)
    }

    /// A run image of one file with this content.
    pub fn push_run_image(&self, name: &str, content: &str) {
        let store = RegistryStore::new(&Invocation::default(), &[], Platform::host()).expect("registry store");
        self.make_run_image(&store, &format!("{}/{name}", self.address), content);
    }

    /// The run image as `example.com/run` in a layout directory.
    pub fn put_run_image_into(&self, dir: &Path) {
        let store = LayoutStore::new(dir, Platform::host(), Compression::default());
        self.make_run_image(&store, "example.com/run", "bench");
    }

    fn make_run_image(&self, store: &dyn ImageStore, name: &str, content: &str) {
        let files = self.root.join("run");
        fs::create_dir_all(&files).expect("run image");
        fs::write(files.join("release"), content).expect("run image");
        let writer = store.writer(&[name.to_owned()], None).expect("writer");
        let mut draft = ImageDraft::empty("linux", Platform::host().architecture.as_str(), MediaFamily::Oci);
        draft.set_label("io.buildpacks.stack.id", "s");
        let source = LayerSource::Directory { path: files, uid: 0, gid: 0 };
        draft.add_layer(writer.add_layer(&source, None).expect("layer"), "");
        writer.commit(&draft).expect("run image");
    }

    fn requests(&self) -> usize {
        fs::read_to_string(self.root.join("registry.log")).unwrap_or_default().matches("HTTP/1.1\"").count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
