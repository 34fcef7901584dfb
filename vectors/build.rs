//! Rebuilds the crate when a vector is added or removed: the embedding macro only sees the files that it embedded before.

fn main() {
    println!("cargo:rerun-if-changed=messages");
    println!("cargo:rerun-if-changed=sessions");
}
