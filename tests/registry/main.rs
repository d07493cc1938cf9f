//! Registries: the program's registry store against Debian's `docker-registry` and against an in-process registry that breaks
//! things on purpose.

mod certificates;
mod faults;
mod faulty;
mod independent;
mod networks;
mod overlap;
mod peers;
mod phases;
mod plain;
mod support;

#[path = "../blackbox/support.rs"]
#[allow(dead_code, reason = "what is not needed here is needed there")]
mod sandbox;
