use lifecycle::error::Result;
use lifecycle::image::Digest;
use lifecycle::layers::{
    compression::Compression,
    pipeline::compress_layer,
    sink::{BlobSink, Chunk},
    slices::app_layers,
    source::LayerSource,
};
struct Null;
impl BlobSink for Null {
    fn write(&mut self, _: Chunk) -> Result<()> {
        Ok(())
    }
    fn finish(self: Box<Self>, _: &Digest, _: u64) -> Result<()> {
        Ok(())
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let root = std::path::PathBuf::from(&a[2]);
    let mut sources = Vec::new();
    for bp in std::fs::read_dir(root.join("layers")).unwrap() {
        let bp = bp.unwrap().path();
        if !bp.file_name().unwrap().to_str().unwrap().starts_with("bench_") {
            continue;
        }
        for l in std::fs::read_dir(&bp).unwrap() {
            let p = l.unwrap().path();
            if p.is_dir() {
                sources.push(LayerSource::Directory { path: p, uid: 0, gid: 0 });
            }
        }
    }
    sources.extend(app_layers(&root.join("app"), &[], 0, 0).unwrap());
    let mut out = 0;
    for s in sources {
        if a[1] == "hash" {
            s.diff_id().unwrap();
            continue;
        }
        let c = Compression::parse(&a[1]).unwrap();
        out += compress_layer(&s, c, None, Box::new(Null)).unwrap().size;
    }
    println!("{out}");
}
