//! What can happen: to the cluster by its users, to the controllers by their surroundings.

use proptest::prelude::*;

use super::generate::{any_harmless, any_user};
use super::user::User;

/// Something that happens. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A user changes something.
    User(User),
    /// A watch of a controller delivers some events; the first delivery is a list.
    Deliver { to: u8, kind: u8, count: u8 },
    /// Every watch of a controller catches up.
    CatchUp { to: u8 },
    /// A watch breaks: a list that describes some moment since it broke, and deletions only by absence.
    Relist { to: u8, kind: u8, lag: u8 },
    /// A watch delivers again what it delivered before.
    Repeat { to: u8, kind: u8, back: u8 },
    /// A controller is elected; the former leader may not notice at once.
    Elect { who: u8, noticed: bool },
    /// A controller learns that it leads no more.
    Notice { who: u8 },
    /// The lists that a new leader reads are complete; each describes a moment since the reading began.
    Read { who: u8, lag: u8 },
    /// A controller decides.
    Decide { who: u8 },
    /// A write happens; its answer comes at once or later.
    Land { which: u8, answered: bool },
    /// A write happens, and its answer is lost.
    LoseAnswer { which: u8 },
    /// A write does not happen.
    Fail { which: u8, why: u8 },
    /// A write is given up while it is on its way: it happens later, or never.
    GiveUp { which: u8 },
    /// A write that was given up happens, or is lost for good.
    Straggle { which: u8, happens: bool },
    /// Answers reach a controller.
    Answer { to: u8 },
    /// A controller dies.
    Kill { who: u8 },
    /// A controller starts.
    Start { who: u8 },
    /// Time passes.
    Wait { how_long: u8 },
    /// A controller catches up, leads if nobody does, decides, and its writes happen.
    Work,
    /// Everything comes to rest.
    Rest,
    /// Another program writes addresses into the status of a Service, whatever the controller does.
    Fight { over: u8, addresses: Vec<u8> },
}

/// Anything that can happen.
pub(crate) fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => any_user().prop_map(Step::User),
        71 => any_surroundings(),
        4 => Just(Step::Rest),
        2 => (0_u8..6, prop::collection::vec(0_u8..11, 1..3))
            .prop_map(|(over, addresses)| Step::Fight { over, addresses }),
    ]
}

/// What forces nobody off an address.
pub(crate) fn any_harmless_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => any_harmless().prop_map(Step::User),
        71 => any_surroundings(),
    ]
}

/// What happens to the controllers.
fn any_surroundings() -> impl Strategy<Value = Step> {
    let byte = || 0_u8..8;
    let who = || 0_u8..2;
    let kind = || 0_u8..6;
    prop_oneof![
        6 => (who(), kind(), 1_u8..4).prop_map(|(to, kind, count)| Step::Deliver { to, kind, count }),
        6 => who().prop_map(|to| Step::CatchUp { to }),
        2 => (who(), kind(), byte()).prop_map(|(to, kind, lag)| Step::Relist { to, kind, lag }),
        1 => (who(), kind(), byte()).prop_map(|(to, kind, back)| Step::Repeat { to, kind, back }),
        2 => (who(), any::<bool>()).prop_map(|(who, noticed)| Step::Elect { who, noticed }),
        1 => who().prop_map(|who| Step::Notice { who }),
        3 => (who(), byte()).prop_map(|(who, lag)| Step::Read { who, lag }),
        10 => who().prop_map(|who| Step::Decide { who }),
        9 => (byte(), any::<bool>()).prop_map(|(which, answered)| Step::Land { which, answered }),
        1 => byte().prop_map(|which| Step::LoseAnswer { which }),
        2 => (byte(), 0_u8..4).prop_map(|(which, why)| Step::Fail { which, why }),
        1 => byte().prop_map(|which| Step::GiveUp { which }),
        2 => (byte(), any::<bool>()).prop_map(|(which, happens)| Step::Straggle { which, happens }),
        3 => who().prop_map(|to| Step::Answer { to }),
        1 => who().prop_map(|who| Step::Kill { who }),
        2 => who().prop_map(|who| Step::Start { who }),
        4 => (0_u8..6).prop_map(|how_long| Step::Wait { how_long }),
        10 => Just(Step::Work),
    ]
}
