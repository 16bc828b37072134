//! Rule R2: The place that the block layer offers for others' data does not keep the proof.
//! QEMU: None recorded. A list in global state may hold any pointer.
//! Shape: generic.
//! Why: `extension_mut` keeps what is `Send + 'static`.

use block_gs::BqlGuard;
use ui_tests::in_main_loop;

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let kept = bql.extension_mut::<Vec<&'static BqlGuard>>();
        //~^ E0277 "cannot be shared between threads safely"
        assert!(kept.is_empty());
        Ok(())
    });
}
