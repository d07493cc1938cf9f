//! `analyzer`, `exporter` and `restorer` with a registry.

use std::fs;

use super::measure::{Cost, run};
use super::{Bench, Contender, flat, text};

impl Bench {
    pub(super) fn phases(&mut self, round: usize, contender: &Contender) {
        let who = contender.name;
        let cache = self.root.join(format!("cache-{who}-{round}"));
        fs::create_dir_all(&cache).expect("cache");
        let cache = text(&cache);
        let volume = ["-cache-dir", cache.as_str()];
        let image = |name: &str| format!("{}/{name}-{who}-{round}", self.registry.address);
        let (plain, with_volume, with_image, cache_image) = (image("a"), image("b"), image("c"), image("cache"));
        let small = image("z");
        let by_image = ["-cache-image", cache_image.as_str()];

        let cost = self.export(contender, &plain, &[]);
        self.note("first export", who, cost);
        let zstd = [("CNB_COMPRESSION", "zstd")];
        let cost = self.export_with(contender, &small, &[], &[], &self.registry.run_image, &zstd);
        self.note("first export, zstd", who, cost);
        let cost = self.export(contender, &plain, &[]);
        self.note("no change, no cache", who, cost);
        let cost = self.export(contender, &with_volume, &volume);
        self.note("first export, volume cache", who, cost);
        let cost = self.export(contender, &with_volume, &volume);
        self.note("no change, volume cache", who, cost);
        self.work.change_app();
        let cost = self.export(contender, &with_volume, &volume);
        self.note("a line of the app changed", who, cost);
        self.work.change_layer();
        let cost = self.export(contender, &with_volume, &volume);
        self.note("a file of a layer changed", who, cost);
        let cost = self.export(contender, &with_image, &by_image);
        self.note("first export, cache image", who, cost);
        let cost = self.export(contender, &with_image, &by_image);
        self.note("no change, cache image", who, cost);

        let layers = self.work.layers();
        let aside = self.root.join("aside");
        fs::rename(&layers, &aside).expect("move layers");
        fs::create_dir_all(&layers).expect("layers");
        fs::copy(aside.join("group.toml"), layers.join("group.toml")).expect("group.toml");
        fs::write(layers.join("analyzed.toml"), "").expect("analyzed.toml");
        let args = [
            ("-layers", text(&layers)),
            ("-group", text(&layers.join("group.toml"))),
            ("-analyzed", text(&layers.join("analyzed.toml"))),
            ("-cache-dir", cache),
        ];
        let cost = run(&contender.bin.join("restorer"), &flat(&args), &[], &self.registry);
        self.note("restore from a volume cache", who, cost);
        fs::remove_dir_all(&layers).expect("remove layers");
        fs::rename(&aside, &layers).expect("move layers back");
    }

    /// Analyzer and exporter with a registry.
    fn export(&self, contender: &Contender, image: &str, more: &[&str]) -> Cost {
        self.export_with(contender, image, &[], more, &self.registry.run_image, &[])
    }

    /// Analyzer and exporter, with arguments for both and for the exporter alone; the costs are the exporter's, the requests
    /// those of both.
    pub(super) fn export_with(
        &self,
        contender: &Contender,
        image: &str,
        both: &[&str],
        more: &[&str],
        run_image: &str,
        env: &[(&str, &str)],
    ) -> Cost {
        let layers = self.work.layers();
        let analyzed = text(&self.root.join("analyzed.toml"));
        fs::write(&analyzed, "").expect("analyzed.toml");
        let owned = |args: &[&str]| args.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let mut args = flat(&[("-layers", text(&layers)), ("-analyzed", analyzed.clone()), ("-run-image", run_image.to_owned())]);
        args.extend(owned(both));
        args.push(image.to_owned());
        let before = run(&contender.bin.join("analyzer"), &args, env, &self.registry);
        let mut args = flat(&[
            ("-layers", text(&layers)),
            ("-app", text(&self.work.app())),
            ("-group", text(&layers.join("group.toml"))),
            ("-analyzed", analyzed),
            ("-report", text(&self.root.join("report.toml"))),
            ("-launcher", text(&self.work.launcher())),
        ]);
        args.extend(owned(both));
        args.extend(owned(more));
        args.push(image.to_owned());
        let mut cost = run(&contender.bin.join("exporter"), &args, env, &self.registry);
        cost.requests += before.requests;
        cost
    }
}
