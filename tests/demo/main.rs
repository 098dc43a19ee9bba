mod svg;
mod terminal;
mod timeline;
fn main() {}
