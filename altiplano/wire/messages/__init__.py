"""The messages of the Mesos v1 API: one class for each, with its field numbers.

`mesos` holds what all APIs share; `scheduler`, `executor`, `master` and `agent` the calls and events of each API;
`allocator`, `maintenance`, `quota` and `resource_provider` small packages that those refer to.  A class is named as
in Mesos without the dots: `Offer.Operation.Launch` is `mesos.OfferOperationLaunch`, `scheduler.Call.Accept` is
`scheduler.CallAccept`.  `fields` says how a message class is read.
"""
