"""What of Thespian's suite a single system in one process cannot run, and why.

Each name (a file, a class in it, or a test) comes with the number of tests it stands for.
"""

SEVERAL_SYSTEMS = {
    "test_HAConvention.py": 24,  # on bases of Thespian's own
    "test_actorSystemRestart.py::TestFuncSystemRestart::testConnectToExistingActorSystem": 1,
    "test_actorSystemRestart.py::TestFuncSystemRestart::testConnectToStoppingActorSystem": 1,
    "test_manyActorSystems.py": 14,
    "test_multipleActorSystems.py::TestFuncMultiProcessSystem": 26,
    "test_preRegistration.py": 6,
    "test_updateSystemCapabilities.py::TestFuncCapabilityUpdates": 18,
}

LOADABLE_SOURCES = {
    "test_sourceLoading.py::TestFuncLoadSource": 44,
    "test_sourceLoading.py::TestFuncMultipleSystemsLoadSource": 13,
    "test_troupe.py::testLoadableColony": 1,
    "test_troupe.py::testLoadableHive": 1,
}

OTHER_PROCESSES = {
    # They kill actors with signals; ours would take the tests with them.
    "test_actorSignals.py::TestFuncMultiProcActorSignals": 2,
    # A hundred actors each spend 0.62 s in `time.sleep`; a loop needs 62 s for that, 5 s are allowed.
    "test_threadedExternal.py::TestFuncThreadedExternal::test_multiple_threads_private_context[100]": 1,
    "test_threadedExternal.py::TestFuncThreadedExternal::test_multiple_threads_private_context_ask[100]": 1,
}

LEFT_OUT = SEVERAL_SYSTEMS | LOADABLE_SOURCES | OTHER_PROCESSES

KEPT = {
    # They load nothing, whatever their class is about.
    "test_sourceLoading.py::TestFuncLoadSource::test00_systemsRunnable",
    "test_sourceLoading.py::TestFuncLoadSource::test02_verifyNotificationNotAvailableOnActorSystemItself",
}

# Two timers made one after the other must be less than 10 us apart.
ALONE = {"test_timing.py"}
