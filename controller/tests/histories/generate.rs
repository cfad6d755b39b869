//! How often users do what.

use proptest::prelude::{Just, Strategy as Generator, any, prop, prop_oneof};

use super::user::{Edit, PoolEdit, Restriction, User};

pub(crate) fn any_user() -> impl Generator<Value = User> {
    let service = || 0_u8..6;
    let pool = || 0_u8..3;
    prop_oneof![
        12 => any_creation(service()),
        12 => (service(), any_edit()).prop_map(|(s, e)| User::Change(s, e)),
        4 => service().prop_map(User::Delete),
        1 => service().prop_map(User::Recreate),
        3 => (pool(), prop::collection::vec(any_pool_edit(), 0..3)).prop_map(|(p, e)| User::CreatePool(p, e)),
        7 => (pool(), any_pool_edit()).prop_map(|(p, e)| User::ChangePool(p, e)),
        1 => pool().prop_map(User::DeletePool),
        1 => (pool(), pool()).prop_map(|(a, b)| User::RenamePool(a, b)),
        1 => (pool(), pool(), any::<bool>()).prop_map(|(a, b, first)| User::SplitPool(a, b, first)),
        2 => (0_u8..2, any::<bool>()).prop_map(|(n, gold)| User::LabelNamespace(n, gold)),
        2 => (0_u8..2, prop::option::of(0_u8..10)).prop_map(|(n, a)| User::NodeAddress(n, a)),
        3 => any_report(any::<bool>()),
        2 => (service(), prop::collection::vec(0_u8..11, 1..4)).prop_map(|(s, a)| User::Show(s, a)),
        2 => service().prop_map(User::Wipe),
    ]
}

/// Changes that force nobody off an address: all that concerns Services that are not there yet (4 and 5), and the rules for
/// newcomers.
pub(crate) fn any_harmless() -> impl Generator<Value = User> {
    let newcomer = || 4_u8..6;
    let pool = || 0_u8..3;
    let rule = prop_oneof![
        Just(PoolEdit::Invalid),
        any::<bool>().prop_map(PoolEdit::Auto),
        any::<bool>().prop_map(PoolEdit::Across),
        prop::option::of(1_u8..3).prop_map(PoolEdit::Quota),
        prop::option::of(0_u8..3).prop_map(PoolEdit::Retain),
        prop::collection::vec((0_u8..6, 0_u8..10), 0..3).prop_map(PoolEdit::Reserve),
        any::<bool>().prop_map(PoolEdit::Balanced),
    ];
    prop_oneof![
        4 => any_creation(newcomer()),
        3 => (newcomer(), any_edit()).prop_map(|(s, e)| User::Change(s, e)),
        1 => newcomer().prop_map(User::Delete),
        1 => (pool(), prop::collection::vec(any_pool_edit(), 0..3)).prop_map(|(p, e)| User::CreatePool(p, e)),
        3 => (pool(), rule).prop_map(|(p, e)| User::ChangePool(p, e)),
        2 => (0_u8..2, prop::option::of(0_u8..10)).prop_map(|(n, a)| User::NodeAddress(n, a)),
        2 => any_report(Just(false)),
    ]
}

/// Strangers, more often none than many.
fn any_report(before_use: impl Generator<Value = bool>) -> impl Generator<Value = User> {
    let strangers = prop::collection::vec((0_u8..10, before_use), 0..3);
    let answered = prop::collection::vec(0_u8..10, 0..2);
    (0_u8..2, strangers, answered).prop_map(|(n, s, a)| User::Report(n, s, a))
}

fn any_creation(service: impl Generator<Value = u8>) -> impl Generator<Value = User> {
    let key = prop::option::of(0_u8..2);
    let edits = prop_oneof![
        2 => Just(Vec::new()),
        3 => prop::collection::vec(any_edit(), 1..3),
    ];
    (service, key, edits).prop_map(|(service, key, edits)| User::Create(service, key, edits))
}

fn any_edit() -> impl Generator<Value = Edit> {
    let maybe = |n: u8| prop::option::of(0..n);
    prop_oneof![
        3 => (0_u8..6).prop_map(Edit::Families),
        4 => (maybe(6), maybe(4)).prop_map(|(v4, v6)| Edit::Exact(v4, v6)),
        1 => maybe(10).prop_map(Edit::Legacy),
        2 => maybe(3).prop_map(Edit::Pool),
        4 => maybe(2).prop_map(Edit::Key),
        3 => (1_u8..8).prop_map(Edit::Ports),
        2 => maybe(3).prop_map(Edit::Local),
        1 => any::<bool>().prop_map(Edit::Class),
        1 => any::<bool>().prop_map(Edit::Balancer),
        1 => any::<bool>().prop_map(Edit::Gold),
    ]
}

fn any_pool_edit() -> impl Generator<Value = PoolEdit> {
    let restriction = (
        0_u8..3,
        prop::option::of(0_u8..2),
        any::<bool>(),
        any::<bool>(),
    );
    let restriction = restriction.prop_map(|(priority, namespace, gold_namespaces, gold)| {
        let gold_services = gold && namespace.is_none();
        Restriction {
            priority,
            namespace,
            gold_namespaces,
            gold_services,
        }
    });
    prop_oneof![
        5 => prop::collection::vec(0_u8..10, 1..4).prop_map(PoolEdit::Ranges),
        1 => Just(PoolEdit::Invalid),
        1 => prop::option::of(0_u8..10).prop_map(PoolEdit::Exclude),
        1 => any::<bool>().prop_map(PoolEdit::AvoidBuggy),
        1 => any::<bool>().prop_map(PoolEdit::Auto),
        2 => prop::option::of(restriction).prop_map(PoolEdit::Restrict),
        2 => any::<bool>().prop_map(PoolEdit::Across),
        2 => prop::option::of(1_u8..3).prop_map(PoolEdit::Quota),
        2 => prop::option::of(0_u8..3).prop_map(PoolEdit::Retain),
        2 => prop::collection::vec((0_u8..6, 0_u8..10), 0..3).prop_map(PoolEdit::Reserve),
        1 => any::<bool>().prop_map(PoolEdit::Balanced),
    ]
}

/// The first pool: enough for some, and rules that matter from the beginning.
pub(crate) fn any_first_pool() -> impl Generator<Value = Vec<PoolEdit>> {
    let ranges = prop_oneof![
        Just(vec![3_u8, 8]),
        Just(vec![0, 6]),
        prop::collection::vec(0_u8..10, 1..4),
    ];
    let retain = prop_oneof![Just(None), (0_u8..3).prop_map(Some)];
    let quota = prop_oneof![2 => Just(None), 1 => (1_u8..4).prop_map(Some)];
    let reserve = prop_oneof![2 => Just(Vec::new()), 1 => Just(vec![(1, 0), (4, 1)])];
    (ranges, retain, quota, any::<bool>(), reserve).prop_map(
        |(ranges, retain, quota, across, reserve)| {
            vec![
                PoolEdit::Ranges(ranges),
                PoolEdit::Retain(retain),
                PoolEdit::Quota(quota),
                PoolEdit::Across(across),
                PoolEdit::Reserve(reserve),
            ]
        },
    )
}
