package dev.slmexport.demo.ui

import android.app.Activity
import android.graphics.Rect
import android.os.Build
import android.view.View
import android.view.WindowInsets

/** Draws behind the system's bars, as Android 15 has apps do, and keeps what is to be read off them and the keyboard. */
fun Activity.keepOffBars(root: View, tabs: View) {
    @Suppress("DEPRECATION")  // what replaces them came with Android 11
    if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) {
        window.setDecorFitsSystemWindows(false)
    } else {
        root.systemUiVisibility = View.SYSTEM_UI_FLAG_LAYOUT_STABLE or
            View.SYSTEM_UI_FLAG_LAYOUT_FULLSCREEN or View.SYSTEM_UI_FLAG_LAYOUT_HIDE_NAVIGATION
    }
    root.setOnApplyWindowInsetsListener { _, insets ->
        val bars = bars(insets)
        val keyboard = keyboard(insets)
        val open = keyboard > bars.bottom
        root.setPadding(bars.left, bars.top, bars.right, if (open) keyboard else 0)
        tabs.setPadding(0, 0, 0, bars.bottom)
        tabs.visibility = if (open) View.GONE else View.VISIBLE
        insets
    }
}

@Suppress("DEPRECATION")
private fun bars(insets: WindowInsets): Rect {
    if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R) {
        val (left, right) = insets.systemWindowInsetLeft to insets.systemWindowInsetRight
        return Rect(left, insets.systemWindowInsetTop, right, insets.stableInsetBottom)
    }
    val all = insets.getInsets(WindowInsets.Type.systemBars() or WindowInsets.Type.displayCutout())
    return Rect(all.left, all.top, all.right, all.bottom)
}

@Suppress("DEPRECATION")
private fun keyboard(insets: WindowInsets): Int =
    if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R) insets.systemWindowInsetBottom
    else insets.getInsets(WindowInsets.Type.ime()).bottom
