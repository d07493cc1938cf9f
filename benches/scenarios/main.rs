//! Costs of export and restore, beside another lifecycle and beside common tools.
//!
//! ```text
//! LIFECYCLE_BIN_DIR=/path/to/other/bin cargo bench --bench scenarios
//! ```
//!
//! Measures the binaries in `LIFECYCLE_BENCH_BIN_DIR` (else the one that cargo built for the bench) and, interleaved with
//! it, those in `LIFECYCLE_BIN_DIR`, over the scenarios of the export: first, unchanged, one line changed, with a volume
//! cache and with a cache image; and of the restore. Machines are noisy: it prints ratios of CPU seconds, medians of
//! `LIFECYCLE_BENCH_ROUNDS` (3) rounds, and counters, which are exact. `LIFECYCLE_BENCH_SCALE` (0.1) scales the workload; 1
//! is 0.8 GB in 45,000 files. Needs Debian's `docker-registry`; without it, or without `LIFECYCLE_BENCH_RUN`, it says so and
//! ends (so that `cargo test --benches` is quick).

mod measure;
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
    costs: BTreeMap<(usize, &'static str, &'static str), Vec<Cost>>,
}

fn main() {
    let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let number = |name: &str, default: f64| env(name).and_then(|v| v.to_str()?.parse().ok()).unwrap_or(default);
    if !std::env::args().any(|a| a == "--bench") && env("LIFECYCLE_BENCH_RUN").is_none() {
        println!("skipped: run with `cargo bench --bench scenarios`");
        return;
    }
    let temp = tempfile::tempdir().expect("a temporary directory");
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
    let mut bench = Bench { work, registry, root, costs: BTreeMap::new() };
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
    for name in ["lifecycle", "analyzer", "exporter", "restorer"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lifecycle"), bin.join(name)).expect("link");
    }
    bin
}

impl Bench {
    fn note(&mut self, order: usize, scenario: &'static str, who: &'static str, cost: Cost) {
        self.costs.entry((order, scenario, who)).or_default().push(cost);
    }

    fn round(&mut self, round: usize, contender: &Contender) {
        let who = contender.name;
        let cache = self.root.join(format!("cache-{who}-{round}"));
        std::fs::create_dir_all(&cache).expect("cache");
        let cache = cache.to_str().expect("UTF-8").to_owned();
        let volume = ["-cache-dir", cache.as_str()];
        let image = |name: &str| format!("{}/{name}-{who}-{round}", self.registry.address);
        let (plain, with_volume, with_image, cache_image) = (image("a"), image("b"), image("c"), image("cache"));
        let by_image = ["-cache-image", cache_image.as_str()];

        let cost = self.export(contender, &plain, &[]);
        self.note(0, "first export", who, cost);
        let cost = self.export(contender, &plain, &[]);
        self.note(1, "no change, no cache", who, cost);
        let cost = self.export(contender, &with_volume, &volume);
        self.note(2, "first export, volume cache", who, cost);
        let cost = self.export(contender, &with_volume, &volume);
        self.note(3, "no change, volume cache", who, cost);
        self.work.change_app();
        let cost = self.export(contender, &with_volume, &volume);
        self.note(4, "a line of the app changed", who, cost);
        self.work.change_layer();
        let cost = self.export(contender, &with_volume, &volume);
        self.note(5, "a file of a layer changed", who, cost);
        let cost = self.export(contender, &with_image, &by_image);
        self.note(6, "first export, cache image", who, cost);
        let cost = self.export(contender, &with_image, &by_image);
        self.note(7, "no change, cache image", who, cost);

        let layers = self.work.layers();
        let aside = self.root.join("aside");
        std::fs::rename(&layers, &aside).expect("move layers");
        std::fs::create_dir_all(&layers).expect("layers");
        std::fs::copy(aside.join("group.toml"), layers.join("group.toml")).expect("group.toml");
        std::fs::write(layers.join("analyzed.toml"), "").expect("analyzed.toml");
        let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        let args = [
            ("-layers", text(layers.clone())),
            ("-group", text(layers.join("group.toml"))),
            ("-analyzed", text(layers.join("analyzed.toml"))),
            ("-cache-dir", cache),
        ];
        let cost = run(&contender.bin.join("restorer"), &flat(&args), &self.registry);
        self.note(8, "restore from a volume cache", who, cost);
        std::fs::remove_dir_all(&layers).expect("remove layers");
        std::fs::rename(&aside, &layers).expect("move layers back");
    }

    /// Analyzer and exporter; the costs are the exporter's, the requests those of both.
    fn export(&self, contender: &Contender, image: &str, more: &[&str]) -> Cost {
        let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        let layers = self.work.layers();
        let analyzed = text(self.root.join("analyzed.toml"));
        std::fs::write(&analyzed, "").expect("analyzed.toml");
        let analyze =
            [("-layers", text(layers.clone())), ("-analyzed", analyzed.clone()), ("-run-image", self.registry.run_image.clone())];
        let mut args = flat(&analyze);
        args.push(image.to_owned());
        let before = run(&contender.bin.join("analyzer"), &args, &self.registry);
        let export = [
            ("-layers", text(layers.clone())),
            ("-app", text(self.work.app())),
            ("-group", text(layers.join("group.toml"))),
            ("-analyzed", analyzed),
            ("-report", text(self.root.join("report.toml"))),
            ("-launcher", text(self.work.launcher())),
        ];
        let mut args = flat(&export);
        args.extend(more.iter().map(|&s| s.to_owned()));
        args.push(image.to_owned());
        let mut cost = run(&contender.bin.join("exporter"), &args, &self.registry);
        cost.requests += before.requests;
        cost
    }

    /// What a shell script would use.
    fn tools(&mut self) {
        let dir = self.work.layers().display().to_string();
        for (order, name, pipe) in [
            (20, "tar | sha256sum", "sha256sum"),
            (21, "tar | gzip -1", "gzip -1 | wc -c"),
            (22, "tar | pigz -1", "pigz -1 | wc -c"),
            (23, "tar | igzip -1", "igzip -1 | wc -c"),
            (24, "tar | zstd -1", "zstd -1 | wc -c"),
        ] {
            let program = pipe.split(' ').next().unwrap_or_default();
            let installed = Command::new("sh").args(["-c", &format!("command -v {program} > /dev/null")]).status();
            if installed.is_ok_and(|s| s.success()) {
                let args = ["-c".to_owned(), format!("tar -cf - -C '{dir}' . | {pipe} > /dev/null")];
                let cost = run(Path::new("/bin/sh"), &args, &self.registry);
                self.note(order, name, "tool", cost);
            }
        }
    }

    fn report(&self, contenders: &[Contender]) {
        println!(
            "{:<28} {:>6} {:>8} {:>8} {:>7} {:>9} {:>9} {:>8}",
            "scenario", "who", "CPU s", "wall s", "MiB", "read MB", "wrote MB", "requests"
        );
        for ((_, scenario, who), costs) in &self.costs {
            let m = Cost::median(costs);
            println!(
                "{scenario:<28} {who:>6} {:>8.2} {:>8.2} {:>7} {:>9.1} {:>9.1} {:>8}",
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
        println!("\n{:<28} {:>8} {:>8}", "ours / other", "CPU", "wall");
        for ((order, scenario, who), costs) in &self.costs {
            if *who == "ours"
                && let Some(other) = self.costs.get(&(*order, *scenario, "other"))
            {
                let (ours, other) = (Cost::median(costs), Cost::median(other));
                println!("{scenario:<28} {:>8.3} {:>8.3}", ours.cpu / other.cpu, ours.wall / other.wall);
            }
        }
    }
}

fn flat(args: &[(&str, String)]) -> Vec<String> {
    args.iter().flat_map(|(name, value)| [(*name).to_owned(), value.clone()]).collect()
}
