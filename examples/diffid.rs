use lifecycle::layers::{slices::app_layers, source::LayerSource};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (uid, gid) = (a[3].parse().unwrap(), a[4].parse().unwrap());
    if a[1] == "dir" {
        println!("{}", LayerSource::Directory { path: a[2].clone().into(), uid, gid }.diff_id().unwrap());
    } else if a[1] == "ext" {
        println!("{}", LayerSource::ExtensionTar { path: a[2].clone().into() }.diff_id().unwrap());
    } else {
        let slices: Vec<Vec<String>> = a[5..].iter().map(|s| s.split(',').map(Into::into).collect()).collect();
        for l in app_layers(a[2].as_ref(), &slices, uid, gid).unwrap() {
            println!("{}", l.diff_id().unwrap());
        }
    }
}
