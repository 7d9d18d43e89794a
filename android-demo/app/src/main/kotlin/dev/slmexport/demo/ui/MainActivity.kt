package dev.slmexport.demo.ui

import android.app.Activity
import android.content.Intent
import android.os.Bundle as Saved
import android.view.View
import android.widget.RadioGroup
import dev.slmexport.demo.R

private const val ASKING = "asking"
private val SCREENS = mapOf(R.id.tab_ask to R.id.ask, R.id.tab_self_test to R.id.self_test, R.id.tab_about to R.id.about)

class MainActivity : Activity() {
    private val watching = Watching()
    private val app get() = application as App
    private lateinit var tabs: RadioGroup

    override fun onCreate(saved: Saved?) {
        super.onCreate(saved)
        setContentView(R.layout.main)
        tabs = findViewById(R.id.tabs)
        tabs.setOnCheckedChangeListener { _, tab -> show(tab) }
        keepOffBars(findViewById(R.id.root), tabs)
        app.begin(saved?.getBundle(ASKING))
        AskScreen(findViewById(R.id.ask), app.library, watching)
        SelfTestScreen(findViewById(R.id.self_test), app, watching)
        AboutScreen(findViewById(R.id.about), app.library, watching)
        if (saved == null) obey(intent)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        obey(intent)
    }

    override fun onSaveInstanceState(state: Saved) {
        super.onSaveInstanceState(state)
        (app.library.value as? Ready)?.let { state.putBundle(ASKING, it.asking.save()) }
    }

    override fun onDestroy() {
        watching.end()
        super.onDestroy()
    }

    private fun obey(intent: Intent) {
        val test = commandedTest(intent, app.testFolder()) ?: return
        tabs.check(R.id.tab_self_test)
        val app = app
        app.testing.run(test::bundles) { test.write(app.reported(it)) }
    }

    private fun show(tab: Int) {
        for ((own, screen) in SCREENS) findViewById<View>(screen).visibility = if (own == tab) View.VISIBLE else View.GONE
    }
}
