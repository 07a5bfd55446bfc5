//! Prints what a look-up costs on a ring of 1,000 nodes with 64 positions each.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints, and times itself"
)]

use std::hint::black_box;
use std::time::Instant;

use hashring::{NodeId, Position, Ring, RingNode};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut nodes = Vec::new();
    for n in 0..1000 {
        let id: NodeId = format!("n{n}").parse()?;
        let positions = (0..64).map(|p| Position::of_key(format!("{n} {p}").as_bytes())).collect();
        nodes.push(RingNode { id, host: format!("h{n}"), zone: String::new(), positions });
    }
    let ring = Ring::new(nodes);
    let keys: Vec<_> =
        (0..100_000).map(|k| Position::of_key(format!("chat {k}").as_bytes())).collect();
    let rounds = 20;
    let start = Instant::now();
    for _ in 0..rounds {
        for key in &keys {
            black_box(ring.owner(black_box(*key)));
        }
    }
    let lookups = f64::from(rounds) * 100_000.0;
    println!("look-up: {:.0} ns", start.elapsed().as_secs_f64() * 1e9 / lookups);
    let start = Instant::now();
    for key in 0..100_000_u32 {
        black_box(ring.owner(Position::of_key(&key.to_le_bytes())));
    }
    println!("MD5 and look-up: {:.0} ns", start.elapsed().as_secs_f64() * 1e9 / 100_000.0);
    println!("balance (max/mean): {:.3}", ring.balance().unwrap_or(f64::NAN));
    Ok(())
}
