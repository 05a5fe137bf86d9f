//! The names of the rules. They are stable: tests, reports and searches go by them.

macro_rules! rules {
    ($($id:ident = $name:literal: $says:literal;)*) => {
        $(#[doc = $says] pub const $id: &str = $name;)*

        /// Every rule: its name and what it says.
        pub const ALL: &[(&str, &str)] = &[$(($name, $says)),*];
    };
}

rules! {
    LOG_SEQUENCE = "log.sequence": "Events are numbered from 1 without gaps.";
    LOG_TIME = "log.time": "Time never goes back.";
    LOG_CONFIGURED_FIRST = "log.configured_first": "The first event sets the market's rules.";
    LOG_CONFIG_ROLE = "log.config_role": "Rules are set by a dispatcher or the system.";
    LOG_CONFIG_VERSION = "log.config_version": "Versions of the rules count up from 1 by one.";

    RESUME_ROLE = "resume.role": "Only the system says that the engine was away.";
    RESUME_OUTAGE = "resume.outage": "An outage is not negative, and began no earlier than the last event.";
    RESUME_OFFERS = "resume.offers": "After an outage the offers that were open before are open that much longer, and no others.";

    LIMIT_ORDERS = "limit.orders": "No more orders are in memory than the market holds.";
    LIMIT_DRIVERS = "limit.drivers": "No more drivers are registered than the market holds.";

    DRIVER_KNOWN = "driver.known": "A driver is registered before anything else happens to it.";
    DRIVER_CHANGED = "driver.changed": "Vehicle and capacity change only while the driver has no order.";
    DRIVER_SHIFT = "driver.shift": "A shift starts when there is none, ends when there is one, and the rest needs one.";
    DRIVER_PAUSE = "driver.pause": "Pause and resume alternate.";
    DRIVER_SILENCE = "driver.silence": "Silent and heard alternate.";
    SILENT_EARLY = "silent.early": "A driver is silent no sooner after the start of its shift or an outage than the rules say.";
    REPOSITION_IDLE = "reposition.idle": "Only a driver who is available and has nothing to do is told to wait elsewhere.";
    REPOSITION_PAST = "reposition.past": "Nobody is told to be somewhere in the past.";
    SHIFT_PLANNED = "shift.planned": "A shift on the roster lies ahead and ends after it begins.";
    SHIFT_ENDED_LOADED = "shift.ended_loaded": "A shift has ended only when the driver has no order.";
    SHIFT_ENDING_EMPTY = "shift.ending_empty": "A shift is ending only while an order is on board.";
    SHIFT_RETURNS = "shift.returns": "Orders not picked up leave a driver in the instant its shift begins to end.";
    SILENT_RETURNS = "silent.returns": "Orders not picked up leave a silent driver in that instant, where the rules say so.";

    ORDER_KNOWN = "order.known": "An order is placed before anything else happens to it.";
    ORDER_DUPLICATE = "order.duplicate": "An order in memory is not placed again.";
    ORDER_ENDED = "order.ended": "Nothing happens to an order that ended but leaving memory.";
    ORDER_TRANSITION = "order.transition": "The dispatch track takes only the steps it has.";
    ORDER_DRIVER = "order.driver": "Only the driver who has an order gets further with it.";
    ORDER_TWO_DRIVERS = "order.two_drivers": "An order never has two drivers.";
    ORDER_READY_AT = "order.ready_at": "An order is ready its preparation after it was placed, or the market's.";
    ORDER_READY_CHANGED = "order.ready_changed": "A changed ready time is another one.";
    ORDER_PLAN_AHEAD = "order.plan_ahead": "Ready times and promises lie within the horizon of the market.";
    ORDER_LEAVE_AT = "order.leave_at": "A driver leaves a stop after what happened there, not before.";
    KITCHEN_FORWARD = "kitchen.forward": "The kitchen track only moves forward.";
    DISPATCH_START = "dispatch.start": "Dispatch starts once confirmed, or when placed where the rules say so.";

    CANCEL_PICKED_UP = "cancel.picked_up": "An order that is picked up is not cancelled.";
    CANCEL_ROLE = "cancel.role": "The customer cancels until preparing, merchant and dispatcher until picked up, the driver never.";
    FAIL_NO_DRIVER = "fail.no_driver": "An order fails for want of a driver no earlier than the limit.";
    FAIL_NEVER_FINISHED = "fail.never_finished": "The longest life of an order is not cut short.";
    OVERDUE_EARLY = "overdue.early": "An order is overdue no earlier than the limit.";
    OVERDUE_TWICE = "overdue.twice": "An order is flagged overdue once for each time it waits.";
    RETIRE_EARLY = "retire.early": "An order that ended stays in memory for its retention.";

    HOLD_REPEATED = "hold.repeated": "A hold is logged when its reason changes.";
    HOLD_SLACK = "hold.slack": "An order is held for ample slack only with slack beyond the margin.";

    ROUND_CLOSED = "round.closed": "Between rounds the engine neither offers nor assigns an order, nor fails the round again.";
    ROUND_ATTEMPTS_USED = "round.attempts_used": "Attempts are used up only after that many offers or waves were declined or expired.";
    ROUND_NO_CANDIDATE = "round.no_candidate": "A round ends without a candidate only after the order was held that long for it.";
    ROUND_RETRY_AT = "round.retry_at": "The next round is announced for the agreed pause after the failed one.";
    ROUND_STARTED = "round.started": "A round starts after a failed one, not before it was announced.";

    OFFER_DIRECT = "offer.direct": "A market that assigns directly makes no offers.";
    OFFER_NUMBER = "offer.number": "Offers are numbered from 1 without gaps.";
    OFFER_ORDERS = "offer.orders": "An offer or assignment is for at least one order, and for none twice.";
    OFFER_AVAILABLE = "offer.available": "Only drivers on shift, not paused, not silent and not ending are asked.";
    OFFER_ONE_OPEN = "offer.one_open": "A driver has at most one open offer.";
    OFFER_ASKED_BEFORE = "offer.asked_before": "Who declined or let expire an order is not asked again in its round.";
    OFFER_ATTEMPT = "offer.attempt": "Attempts count up from 1 within a round; a wave is one, and an offer that is withdrawn is none.";
    OFFER_ATTEMPT_LIMIT = "offer.attempt_limit": "A round has no more attempts than the rules allow.";
    OFFER_EXPIRES_AT = "offer.expires_at": "An offer is open for exactly as long as the rules say.";
    OFFER_KNOWN = "offer.known": "Only an offer that was made is closed.";
    OFFER_ONE_OUTCOME = "offer.one_outcome": "An offer has exactly one outcome.";
    OFFER_ANSWERED_LATE = "offer.answered_late": "An offer is answered strictly before it expires.";
    OFFER_EXPIRED_EARLY = "offer.expired_early": "An offer expires no earlier than it said.";
    OFFER_ACCEPT_ASSIGNS = "offer.accept_assigns": "An accepted offer assigns its orders to its driver next, in the same instant.";
    OFFER_WAVE = "offer.wave": "Where drivers are asked in waves an offer names the first of its wave, which has an open one; elsewhere none.";
    OFFER_WAVE_ALIKE = "offer.wave_alike": "The offers of a wave are made in one instant, as one attempt, for the same orders.";
    OFFER_WAVE_SIZE = "offer.wave_size": "A wave asks no more drivers than the rules say.";
    OFFER_WAVE_ONE_ACCEPTED = "offer.wave_one_accepted": "At most one offer of a wave is accepted.";
    OFFER_WAVE_WITHDRAWN = "offer.wave_withdrawn": "Before an accepted offer assigns its orders, the others of its wave are withdrawn.";
    OFFER_UNANSWERABLE = "offer.unanswerable": "An offer is withdrawn in the instant its driver can no longer take it.";

    ASSIGN_WITHOUT_OFFER = "assign.without_offer": "Under offers only acceptance or a dispatcher assigns.";
    ASSIGN_AVAILABLE = "assign.available": "Only drivers on shift, not ending and not silent get orders; paused ones by hand only.";
    ASSIGN_SKILLS = "assign.skills": "A driver has every skill its orders ask for.";
    ASSIGN_CAPACITY = "assign.capacity": "No planned route ever carries more than the driver can.";
    ASSIGN_ORDERS_PER_DRIVER = "assign.orders_per_driver": "The engine plans no more orders on a route than the rules allow.";
    ASSIGN_AFTER_SHIFT = "assign.after_shift": "The engine plans no new pickup after the shift.";
    CAPACITY_ON_BOARD = "capacity.on_board": "A driver never has more on board than it can carry.";

    ROUTE_PRESENT = "route.present": "An order that ends brings its driver's new route, and none where it had no driver.";
    ROUTE_ORDERS = "route.orders": "A route has exactly the driver's orders: pickup and dropoff, or the dropoff of what is on board.";
    ROUTE_PRECEDENCE = "route.precedence": "A dropoff comes after its pickup.";
    ROUTE_POSITION = "route.position": "A stop is where its orders are fetched or brought.";
    ROUTE_TIMES = "route.times": "Times along a route never go back.";
    ROUTE_SERVICE = "route.service": "Each stop takes its service before and after.";
    ROUTE_READY = "route.ready": "No pickup is planned before its orders are ready.";
    ROUTE_PAST = "route.past": "Nothing is planned in the past.";
    ROUTE_ARRIVAL = "route.arrival": "A stop the driver reached says when, and no other does.";

    DECISION_PRESENT = "decision.present": "An assignment has a decision exactly when the engine made it.";
    DECISION_VERSION = "decision.version": "A decision names the rules in force.";
    DECISION_SIZE = "decision.size": "A decision records at most 8 candidates in at most 1 KiB.";
    DECISION_CANDIDATES = "decision.candidates": "Recorded candidates are known, different, and no more than there were.";
    DECISION_CHOSEN = "decision.chosen": "Exactly the driver who got the orders is marked chosen; nobody for a hold.";
    DECISION_SUM = "decision.sum": "Contributions add up to the score, one for each term.";
    DECISION_SORTED = "decision.sorted": "Candidates are recorded best first.";

    DUE_OFFER_EXPIRY = "due.offer_expiry": "No offer stays open when it has expired.";
    DUE_OVERDUE = "due.overdue": "An order without a driver for too long is flagged.";
    DUE_FAIL = "due.fail": "An order without a driver beyond the limit has failed.";
    DUE_NEVER_FINISHED = "due.never_finished": "No order outlives the longest life of an order.";
    DUE_RETRY = "due.retry": "A round that is due has started.";
    DUE_DISPATCH = "due.dispatch": "A confirmed order is dispatched at most a window after it is first looked at.";
    DUE_RETIRE = "due.retire": "An order leaves memory after its retention.";
    DUE_SHIFT_END = "due.shift_end": "A shift that is over ends with the last order.";

    LIVE_ORDERS = "live.orders": "Every order that was placed ends.";
}
