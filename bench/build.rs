//! Generates the messages of the tonic competitor.

fn main() {
    let fds = protox::compile(["echo.proto"], ["."]).unwrap();
    tonic_prost_build::configure().compile_fds(fds).unwrap();
}
