//! The export to a layout directory.

use std::fs;

use super::{Bench, Contender, text};

impl Bench {
    pub(super) fn layout(&mut self, round: usize, contender: &Contender) {
        let who = contender.name;
        let dir = self.root.join(format!("layout-{who}-{round}"));
        fs::create_dir_all(&dir).expect("layout directory");
        self.registry.put_run_image_into(&dir);
        let dir = text(&dir);
        let args = ["-layout", "-layout-dir", &dir];
        for scenario in ["first export, layout", "no change, layout"] {
            let env = [("CNB_EXPERIMENTAL_MODE", "quiet")];
            let cost = self.export_with(contender, "example.com/app", &args, &[], "example.com/run", &env);
            self.note(scenario, who, cost);
        }
        fs::remove_dir_all(&dir).expect("remove layouts");
    }
}
