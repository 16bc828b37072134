//! Rule R19: Nobody makes a request that is not counted.
//! QEMU: None recorded. A request is begun by incrementing a counter, or not.
//! Shape: literal.
//! Why: The fields are private; requests come from an `InFlight` or an `Activity`.

use block_gs::{BqlGuard, Perm};
use block_io::Request;
use ui_tests::{SIZE, in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let request = Request {
            node: node.io(),
            perm: Perm::all(),
            may_unmap: true,
        };
        //~^^^^ E0451 "fields `node`, `perm` and `may_unmap` of struct `block_io::Request` are private"
        assert_eq!(bql.block_on(request.refresh_length())?, SIZE);
        Ok(())
    });
}
