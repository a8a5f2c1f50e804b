fn main() {
    println!("Hello from Rust.");
    let squares: Vec<u32> = (1..=5).map(|n| n * n).collect();
    println!("Squares: {squares:?}");
    eprintln!("This line went to standard error.");
}
