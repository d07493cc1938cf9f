//! Registries: the program's registry store against Debian's `docker-registry` and against an in-process registry that breaks
//! things on purpose.

mod faults;
mod faulty;
mod peers;
mod plain;
mod support;
