//! Images that turn out to be damaged, said on standard error as they are.

use std::io::Write;

use block_gs::BqlGuard;
use block_io::{BackendEvent, ImageCorrupted, Listening};

/// Says on standard error which images turn out to be damaged, as long as what
/// is returned is kept. Of the formats qcow2 alone reports that.
pub(crate) fn say_damage(bql: &BqlGuard) -> Listening {
    bql.events().listen(|event| {
        if let BackendEvent::ImageCorrupted(found) = event {
            // Who closed it does not want to know.
            let _ = writeln!(std::io::stderr(), "{}", line(found));
        }
    })
}

fn line(found: &ImageCorrupted) -> String {
    let text = &found.message;
    match found.fatal {
        true => format!(
            "qcow2: Marking image as corrupt: {text}; further corruption events will be suppressed"
        ),
        false => format!(
            "qcow2: Image is corrupt: {text}; further non-fatal corruption events will be \
             suppressed"
        ),
    }
}
