package dev.slmexport.demo.ui

import android.content.Intent
import android.view.View
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import dev.slmexport.demo.R
import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.selftest.BundleVerdict

/** Runs the golden vectors of all bundles, and shows how each artifact did. */
class SelfTestScreen(root: View, private val app: App, watching: Watching) {
    private val context = root.context
    private val intro: TextView = root.findViewById(R.id.self_test_intro)
    private val progress: ProgressBar = root.findViewById(R.id.progress)
    private val run: Button = root.findViewById(R.id.run)
    private val share: Button = root.findViewById(R.id.share)
    private val verdicts: LinearLayout = root.findViewById(R.id.verdicts)

    init {
        run.setOnClickListener { asking()?.let { asking -> app.testing.run({ asking.pages.map { it.model.bundle } }) } }
        share.setOnClickListener { (app.testing.state.value as? Tested)?.let { share(it.verdicts) } }
        watching.of(app.testing.state) { show(it) }
        watching.of(app.library) { show(app.testing.state.value) }
    }

    private fun asking(): Asking? = (app.library.value as? Ready)?.asking

    private fun show(state: TestState) {
        val pages = asking()?.pages.orEmpty()
        progress.shown = state is Tests
        run.shown = pages.isNotEmpty()
        run.isEnabled = state !is Tests
        run.setText(if (state is Tested) R.string.run_again else R.string.run)
        share.shown = state is Tested
        intro.setTextAppearance(if (state is Tested) R.style.Heading else R.style.Body)
        intro.text = told(state)
        verdicts.removeAllViews()
        if (state is Tests) show(state)
        if (state is Tested) state.verdicts.forEach(::show)
    }

    private fun told(state: TestState): String = when (state) {
        Untested -> untested()
        is Tests -> if (state.artifact == null) context.getString(R.string.preparing) else testing(state.artifact)
        is Tested -> context.getString(if (state.passed) R.string.all_passed else R.string.not_all_passed)
        is NotTested -> state.sentence
    }

    private fun testing(artifact: Artifact) = context.getString(R.string.testing, context.nameOf(artifact))

    private fun untested(): String = when (val library = app.library.value) {
        Preparing -> context.getString(R.string.preparing)
        is Unreadable -> library.sentence
        is Ready -> context.getString(if (library.asking.pages.isEmpty()) R.string.no_bundle else R.string.self_test_intro)
    }

    private fun show(tests: Tests) {
        progress.max = maxOf(1, tests.all)
        progress.progress = tests.done
    }

    private fun show(verdict: BundleVerdict) {
        verdicts.addLine(verdict.bundle.name, R.style.Heading, gap = 16).asHeading()
        verdicts.addTokenizer(verdict)
        verdict.artifacts.forEach(verdicts::addVerdict)
    }

    private fun share(verdicts: List<BundleVerdict>) {
        val report = Intent(Intent.ACTION_SEND).setType("text/plain")
            .putExtra(Intent.EXTRA_TEXT, context.reported(verdicts).toString(2))
        context.startActivity(Intent.createChooser(report, context.getString(R.string.share)))
    }
}
