//! What a driver can do beyond reads and writes: that it is asked for it, with
//! what, and what comes of it where a driver cannot.

#[path = "../common/mod.rs"]
mod common;

mod copies;
mod drive;
mod image;
mod media;
mod past;
mod silence;
mod steps;
mod zones;
