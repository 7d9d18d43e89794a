package dev.slmexport.demo.ui

import android.content.Context
import android.os.Build
import android.text.Editable
import android.text.TextWatcher
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.view.inputmethod.InputMethodManager
import android.widget.ArrayAdapter
import android.widget.LinearLayout
import android.widget.TextView
import dev.slmexport.demo.R
import dev.slmexport.demo.model.Artifact
import java.math.BigDecimal
import java.math.MathContext
import java.text.NumberFormat

private val FORMATS = mapOf(
    "onnx" to R.string.format_onnx, "tflite" to R.string.format_tflite, "executorch" to R.string.format_executorch,
)

fun Context.nameOf(artifact: Artifact): String =
    getString(R.string.artifact, FORMATS[artifact.format]?.let(::getString) ?: artifact.format, artifact.scheme)

fun percent(value: Float): String =
    NumberFormat.getPercentInstance().apply { minimumFractionDigits = 1 }.format(value)

fun number(value: Double, digits: Int): String = NumberFormat.getInstance().apply {
    minimumFractionDigits = digits
    maximumFractionDigits = digits
}.format(value)

/** As it was said: a bound of 0.9995 is not 1. */
fun exact(value: Double): String = NumberFormat.getInstance().apply { maximumFractionDigits = MOST_DIGITS }.format(value)

/** With two digits that count, however small. */
fun short(value: Double): String =
    if (!value.isFinite()) value.toString()
    else NumberFormat.getInstance().apply { maximumFractionDigits = MOST_DIGITS }.format(BigDecimal(value).round(MathContext(2)))

fun Context.milliseconds(value: Double): String = getString(R.string.milliseconds, number(value, if (value < 10) 1 else 0))

var View.shown: Boolean
    get() = visibility == View.VISIBLE
    set(shown) {
        visibility = if (shown) View.VISIBLE else View.GONE
    }

fun ViewGroup.inflate(layout: Int): View = LayoutInflater.from(context).inflate(layout, this, false)

/** Adds a line of text in one of the text styles, below what is there by `gap` dp. */
fun LinearLayout.addLine(text: CharSequence, style: Int = R.style.Body, gap: Int = 0): TextView {
    val line = TextView(context)
    line.setTextAppearance(style)
    line.setLineSpacing(0f, LINE_SPACING)
    line.text = text
    val params = LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, LinearLayout.LayoutParams.WRAP_CONTENT)
    params.topMargin = dp(gap)
    addView(line, params)
    return line
}

/** Adds a name and its value, read out together. */
fun LinearLayout.addFact(name: CharSequence, value: CharSequence): View {
    val fact = inflate(R.layout.fact)
    fact.findViewById<TextView>(R.id.name).text = name
    fact.findViewById<TextView>(R.id.value).text = value
    fact.describe("$name: $value")
    addView(fact)
    return fact
}

/** Has a group of views read out as one. */
fun View.describe(text: CharSequence) {
    contentDescription = text
    isFocusable = true
    if (this !is ViewGroup) return
    for (at in 0 until childCount) getChildAt(at).importantForAccessibility = View.IMPORTANT_FOR_ACCESSIBILITY_NO_HIDE_DESCENDANTS
}

fun View.asHeading() {
    if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) isAccessibilityHeading = true
}

fun View.dp(value: Int): Int = (value * resources.displayMetrics.density).toInt()

fun View.hideKeyboard() {
    (context.getSystemService(Context.INPUT_METHOD_SERVICE) as InputMethodManager).hideSoftInputFromWindow(windowToken, 0)
}

fun TextView.onText(take: (String) -> Unit) = addTextChangedListener(object : TextWatcher {
    override fun beforeTextChanged(text: CharSequence, start: Int, count: Int, after: Int) = Unit

    override fun onTextChanged(text: CharSequence, start: Int, before: Int, count: Int) = Unit

    override fun afterTextChanged(text: Editable) = take(text.toString())
})

/** Names to choose from; `description` is what is read out of the chosen one. */
class Choices(context: Context, names: List<String>, private val description: Int) :
    ArrayAdapter<String>(context, R.layout.choice, names) {
    override fun getView(position: Int, convertView: View?, parent: ViewGroup): View =
        super.getView(position, convertView, parent).apply {
            contentDescription = context.getString(description, getItem(position))
        }
}

private const val LINE_SPACING = 1.2f
private const val MOST_DIGITS = 12
