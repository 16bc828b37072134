//! The request path: what happens between the one who asks and the driver.

mod cancel;
mod errors;
mod fairness;
mod flags;
mod flush;
mod growth;
mod model;
mod paths;
mod rmw;
mod status;
mod status_cache;
mod strict;
mod support;
mod zeroes;
mod zombies;
