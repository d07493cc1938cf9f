fn main() {
    let a: Vec<String> = std::env::args().collect();
    lifecycle::layers::source::LayerSource::ExtensionTar { path: a[1].clone().into() }
        .write_tar(&mut std::io::stdout().lock())
        .unwrap();
}
