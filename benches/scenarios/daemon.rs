//! The export to a docker daemon.

use std::fs;
use std::process::Command;

use super::{Bench, Contender, text};

impl Bench {
    /// Nothing, if no daemon answers.
    pub(super) fn daemon(&mut self, round: usize, contender: &Contender) {
        let docker = |args: &[&str]| Command::new("docker").args(args).output();
        if !docker(&["version"]).is_ok_and(|o| o.status.success()) {
            return;
        }
        let who = contender.name;
        let run_image = "lifecycle-bench/run";
        let files = self.root.join("run.tar");
        let tar = Command::new("tar").arg("-cf").arg(&files).arg("-C").arg(self.root.join("run")).arg(".").status();
        assert!(tar.is_ok_and(|s| s.success()), "make the run image");
        let imported = docker(&["import", "-c", "LABEL io.buildpacks.stack.id=s", &text(&files), run_image]).expect("docker");
        assert!(imported.status.success(), "import the run image: {imported:?}");

        let cache = self.root.join(format!("launch-cache-{who}-{round}"));
        fs::create_dir_all(&cache).expect("launch cache");
        let cache = text(&cache);
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let env: &[(&str, &str)] = if host.is_empty() { &[] } else { &[("DOCKER_HOST", &host)] };
        let image = format!("lifecycle-bench/app-{who}-{round}");
        for scenario in ["first export, daemon", "no change, daemon", "a line of the app, daemon"] {
            if scenario.starts_with("a line") {
                self.work.change_app();
            }
            let cost = self.export_with(contender, &image, &["-daemon"], &["-launch-cache", &cache], run_image, env);
            self.note(scenario, who, cost);
        }
        let _ = docker(&["rmi", "-f", &image]);
        fs::remove_dir_all(&cache).expect("remove launch cache");
    }
}
