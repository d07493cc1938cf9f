//! Costs of export and restore, beside another lifecycle and beside common tools.
//!
//! ```text
//! LIFECYCLE_BIN_DIR=/path/to/other/bin cargo bench --bench scenarios
//! ```
//!
//! Measures the binaries in `LIFECYCLE_BENCH_BIN_DIR` (else the one that cargo built for the bench) and, interleaved with
//! it, those in `LIFECYCLE_BIN_DIR`: the phases export and restore, whole builds, the export to a layout directory and to a
//! docker daemon, and rebase behind a slow network. Machines are noisy: it prints ratios of CPU seconds, medians of
//! `LIFECYCLE_BENCH_ROUNDS` (3) rounds, and counters, which are exact. `LIFECYCLE_BENCH_SCALE` (0.1) scales the workload; 1
//! is 0.8 GB in 45,000 files. Needs Debian's `docker-registry`; without it, or without `LIFECYCLE_BENCH_RUN`, it says so and
//! ends (so that `cargo test --benches` is quick). Without a docker daemon (`DOCKER_HOST`) that part is left out.

mod creator;
mod daemon;
mod layout;
mod measure;
mod phases;
mod rebase;
mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use measure::{Cost, Registry, run};
use workload::Workload;

struct Contender {
    name: &'static str,
    bin: PathBuf,
}

struct Bench {
    work: Workload,
    registry: Registry,
    root: PathBuf,
    /// Scenarios in the order in which they were first run.
    order: Vec<&'static str>,
    costs: BTreeMap<(&'static str, &'static str), Vec<Cost>>,
}

fn main() {
    let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let number = |name: &str, default: f64| env(name).and_then(|v| v.to_str()?.parse().ok()).unwrap_or(default);
    if !std::env::args().any(|a| a == "--bench") && env("LIFECYCLE_BENCH_RUN").is_none() {
        println!("skipped: run with `cargo bench --bench scenarios`");
        return;
    }
    // The reference takes paths of layouts for references, which have no capital letters.
    let name = format!("lifecycle-bench-{}", std::process::id());
    let temp = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().expect("a temporary directory");
    let root = temp.path().to_owned();
    let Some(registry) = Registry::start(&root) else {
        println!("skipped: no docker-registry");
        return;
    };
    let own = env("LIFECYCLE_BENCH_BIN_DIR").unwrap_or_else(|| own_binaries(&root));
    let mut contenders = vec![Contender { name: "ours", bin: own }];
    if let Some(bin) = env("LIFECYCLE_BIN_DIR") {
        contenders.insert(0, Contender { name: "other", bin });
    }
    let work = Workload::generate(&root.join("work"), number("LIFECYCLE_BENCH_SCALE", 0.1));
    let mut bench = Bench { work, registry, root, order: Vec::new(), costs: BTreeMap::new() };
    for round in 0..number("LIFECYCLE_BENCH_ROUNDS", 3.0) as usize {
        for contender in &contenders {
            bench.round(round, contender);
        }
        bench.tools();
    }
    bench.report(&contenders);
}

/// The applets are links to the one binary.
fn own_binaries(root: &Path) -> PathBuf {
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin).expect("bin");
    for name in ["lifecycle", "analyzer", "exporter", "restorer", "rebaser", "creator"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lifecycle"), bin.join(name)).expect("link");
    }
    bin
}

impl Bench {
    fn note(&mut self, scenario: &'static str, who: &'static str, cost: Cost) {
        if !self.order.contains(&scenario) {
            self.order.push(scenario);
        }
        self.costs.entry((scenario, who)).or_default().push(cost);
    }

    fn round(&mut self, round: usize, contender: &Contender) {
        self.phases(round, contender);
        self.creator(round, contender);
        self.layout(round, contender);
        self.daemon(round, contender);
        self.rebase(round, contender);
    }

    /// What a shell script would use, as far as it is installed.
    fn tools(&mut self) {
        let (dir, out) = (text(&self.work.layers()), text(&self.root.join("tool")));
        let push = format!("skopeo copy --dest-tls-verify=false oci:{out}:x docker://{}/skopeo", self.registry.address);
        for (name, program, script) in [
            ("tar | sha256sum", "sha256sum", format!("tar -cf - -C {dir} . | sha256sum")),
            ("tar | gzip -1", "gzip", format!("tar -cf - -C {dir} . | gzip -1")),
            ("tar | pigz -1", "pigz", format!("tar -cf - -C {dir} . | pigz -1")),
            ("tar | igzip -1", "igzip", format!("tar -cf - -C {dir} . | igzip -1")),
            ("tar | zstd -1", "zstd", format!("tar -cf - -C {dir} . | zstd -1")),
            (
                "umoci insert (to a layout)",
                "umoci",
                format!("umoci init --layout {out} && umoci new --image {out}:x && umoci insert --image {out}:x {dir} /layers"),
            ),
            ("skopeo copy (it to a registry)", "skopeo", push),
            (
                "buildah (to a layout)",
                "buildah",
                format!("c=$(buildah from scratch) && buildah copy $c {dir} /layers && buildah commit --rm $c oci:{out}:b"),
            ),
        ] {
            let installed = Command::new("sh").args(["-c", &format!("command -v {program} > /dev/null")]).status();
            if installed.is_ok_and(|s| s.success()) {
                let args = ["-c".to_owned(), format!("({script}) > /dev/null")];
                let cost = run(Path::new("/bin/sh"), &args, &[], &self.registry);
                self.note(name, "tool", cost);
            }
        }
        let _ = std::fs::remove_dir_all(&out);
    }

    fn report(&self, contenders: &[Contender]) {
        println!(
            "{:<32} {:>6} {:>8} {:>8} {:>7} {:>9} {:>9} {:>8}",
            "scenario", "who", "CPU s", "wall s", "MiB", "read MB", "wrote MB", "requests"
        );
        let whos = ["other", "ours", "tool"];
        for (scenario, who) in self.order.iter().flat_map(|scenario| whos.map(|who| (*scenario, who))) {
            let Some(costs) = self.costs.get(&(scenario, who)) else { continue };
            let m = Cost::median(costs);
            println!(
                "{scenario:<32} {who:>6} {:>8.2} {:>8.2} {:>7} {:>9.1} {:>9.1} {:>8}",
                m.cpu,
                m.wall,
                m.peak_mib,
                m.read as f64 / 1e6,
                m.written as f64 / 1e6,
                m.requests
            );
        }
        if contenders.len() < 2 {
            return;
        }
        println!("\n{:<32} {:>8} {:>8}", "ours / other", "CPU", "wall");
        for scenario in &self.order {
            let of = |who| self.costs.get(&(*scenario, who)).map(|costs| Cost::median(costs));
            if let (Some(ours), Some(other)) = (of("ours"), of("other")) {
                println!("{scenario:<32} {:>8.3} {:>8.3}", ours.cpu / other.cpu, ours.wall / other.wall);
            }
        }
    }
}

fn flat(args: &[(&str, String)]) -> Vec<String> {
    args.iter().flat_map(|(name, value)| [(*name).to_owned(), value.clone()]).collect()
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
