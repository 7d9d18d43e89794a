package dev.slmexport.demo.ui

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.runtime.FreeMemory
import dev.slmexport.demo.selftest.BundleVerdict
import dev.slmexport.demo.selftest.SelfTest
import dev.slmexport.demo.selftest.sentence

sealed interface TestState

data object Untested : TestState

/** `done` of `all` artifacts have been tested. */
class Tests(val done: Int, val all: Int, val artifact: Artifact?) : TestState

class Tested(val verdicts: List<BundleVerdict>) : TestState {
    val passed: Boolean get() = verdicts.isNotEmpty() && verdicts.all { it.passed }
}

class NotTested(val sentence: String) : TestState

/** The self-test: what runs, and what came of it. It outlives the screens. */
class Testing(private val worker: Worker, private val open: OpenArtifact, private val free: FreeMemory) {
    val state = Watched<TestState>(Untested)

    /** `bundles` is called on the worker's thread, and so is `then`, with no verdicts where the test could not be run. */
    fun run(bundles: () -> List<Bundle>, then: (List<BundleVerdict>) -> Unit = {}) {
        state.value = Tests(0, 0, null)
        worker.run {
            open.close()
            val outcome = tested(bundles)
            worker.show { state.value = outcome }
            then((outcome as? Tested)?.verdicts.orEmpty())
        }
    }

    private fun tested(bundles: () -> List<Bundle>): TestState = try {
        val found = bundles()
        val all = found.sumOf { it.artifacts.size }
        var begun = 0
        Tested(found.map { bundle -> SelfTest(bundle, free).run { show(Tests(begun++, all, it)) } })
    } catch (error: Exception) {
        NotTested(sentence(error))
    }

    private fun show(tests: Tests) = worker.show { state.value = tests }
}
